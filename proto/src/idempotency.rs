//! Which methods are idempotent.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::Message as _;
use prost_types::method_options::IdempotencyLevel;
use prost_types::{FileDescriptorSet, ServiceDescriptorProto};

static LEVELS: LazyLock<HashMap<String, IdempotencyLevel>> = LazyLock::new(|| {
    // The build script writes the set, so decoding does not fail.
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

/// True when the method is idempotent according to its `.proto` file.
///
/// `path` is the path of a gRPC request, such as `/weft.log.v1.LogService/Write`. Unknown methods are not repeatable.
pub fn repeatable(path: &str) -> bool {
    !matches!(LEVELS.get(path), None | Some(IdempotencyLevel::IdempotencyUnknown))
}

#[cfg(test)]
mod tests {
    use super::repeatable;

    #[test]
    fn reads_the_idempotency_level_of_the_proto() {
        assert!(repeatable("/weft.log.v1.LogService/Write"));
        assert!(repeatable("/weft.log.v1.LogService/WriteMany"));
        assert!(repeatable("/weft.log.v1.LogService/Query"));
        assert!(repeatable("/weft.deadletter.v1.DeadLetterService/Store"));
        assert!(repeatable("/weft.deadletter.v1.DeadLetterService/Remove"));
        assert!(!repeatable("/logs.LogService/WriteLog"), "its request has no id");
        assert!(!repeatable("/elsewhere.Service/Method"));
    }
}
