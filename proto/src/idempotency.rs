//! Which methods may be called again.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::Message as _;
use prost_types::method_options::IdempotencyLevel;
use prost_types::{FileDescriptorSet, ServiceDescriptorProto};

static LEVELS: LazyLock<HashMap<String, IdempotencyLevel>> = LazyLock::new(|| {
    // The set is made by our own build script: what does not decode has no methods to repeat.
    let set = FileDescriptorSet::decode(super::DESCRIPTORS).unwrap_or_default();
    set.file
        .iter()
        .flat_map(|file| file.service.iter().flat_map(|service| methods(file.package(), service)))
        .collect()
});

fn methods<'a>(
    package: &'a str,
    service: &'a ServiceDescriptorProto,
) -> impl Iterator<Item = (String, IdempotencyLevel)> + 'a {
    service.method.iter().map(move |method| {
        let level =
            method.options.as_ref().map(prost_types::MethodOptions::idempotency_level).unwrap_or_default();
        (format!("/{package}.{}/{}", service.name(), method.name()), level)
    })
}

/// True when the method's `.proto` says that a repeat has no further effect.
///
/// `path` is a gRPC request's path, such as `/weft.log.v1.LogService/Write`. A method that is not ours is not
/// repeatable.
pub fn repeatable(path: &str) -> bool {
    !matches!(LEVELS.get(path), None | Some(IdempotencyLevel::IdempotencyUnknown))
}

#[cfg(test)]
mod tests {
    use super::repeatable;

    #[test]
    fn the_word_of_the_proto_decides() {
        assert!(repeatable("/weft.log.v1.LogService/Write"));
        assert!(repeatable("/weft.log.v1.LogService/WriteMany"));
        assert!(repeatable("/weft.log.v1.LogService/Query"));
        assert!(repeatable("/weft.deadletter.v1.DeadLetterService/Store"));
        assert!(repeatable("/weft.deadletter.v1.DeadLetterService/Remove"));
        assert!(!repeatable("/logs.LogService/WriteLog"), "it has no id, so it is never repeated");
        assert!(!repeatable("/elsewhere.Service/Method"));
    }
}
