//! The header `Idempotency-Key`, and the ids that derive from it.

use axum::http::{HeaderMap, StatusCode};
use utoipa::IntoParams;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use uuid::Uuid;
use weft_mesh::Caller;
use weft_runtime::clock::Clock;
use weft_values::key::{Key, MAX_CHARS, Operation, Scope};

use crate::reply::ApiError;

/// The header of the IETF draft `draft-ietf-httpapi-idempotency-key-header`.
const HEADER: &str = "idempotency-key";

/// The request's key, if it has one.
///
/// # Errors
/// When the key is invalid or given twice.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<Key>, ApiError> {
    let mut keys = headers.get_all(HEADER).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    if keys.next().is_some() {
        return Err(invalid("the header is given twice; expected one"));
    }
    let key = key.to_str().map_err(|_| {
        invalid("the key has a character that is not allowed; expected printable ASCII characters")
    })?;
    // The draft writes the key as a quoted string; most clients send it bare.
    let key = key.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(key).trim();
    Key::parse(key).map(Some).map_err(|error| invalid(error.reason()))
}

/// The id of an item whose store compares a repeat with the stored item. Without a key, a new id.
pub(crate) fn id(clock: &dyn Clock, caller: &Caller, operation: Operation, key: Option<&Key>) -> Uuid {
    let scope =
        |key: &Key| Scope { caller: Some(&caller.user), operation, key: key.as_str(), index: None }.id();
    key.map_or_else(|| clock.new_id(), scope)
}

/// The id of an item whose store does not compare: other content gets another id. Without a key, a new id.
pub(crate) fn id_of_content(
    clock: &dyn Clock,
    caller: Option<&Caller>,
    operation: Operation,
    key: Option<&Key>,
    content: &[&str],
) -> Uuid {
    let caller = caller.map(|caller| caller.user.as_str());
    let id = |key: &Key| Scope { caller, operation, key: key.as_str(), index: None }.id_of_content(content);
    key.map_or_else(|| clock.new_id(), id)
}

/// The error for a key that the same caller has used for the same operation with other content.
pub(crate) fn conflict() -> ApiError {
    ApiError::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "Idempotency-Key: conflict: the key was used before with other content; use a new key for a new request",
    )
}

/// The header in the OpenAPI description.
pub(crate) struct Header;

impl IntoParams for Header {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(MAX_CHARS))
            .pattern(Some("^[!-~]([ -~]*[!-~])?$"));
        let header = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "A repeat with the same key and content is stored once. A key belongs to one caller and one operation. The nil UUID is not allowed.",
            ))
            .schema(Some(schema));
        vec![header.build()]
    }
}

fn invalid(reason: &str) -> ApiError {
    ApiError::bad_request(format!("Idempotency-Key: {reason}"))
}

#[cfg(test)]
mod tests {
    use weft_mesh::caller::Role;
    use weft_runtime::clock::SystemClock;

    use super::*;

    fn read(values: &[&str]) -> Result<Option<Key>, ApiError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, value.parse().unwrap());
        }
        key(&headers)
    }

    #[test]
    fn a_quoted_key_is_the_same_as_a_bare_one() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["\"order-17\""]), read(&["order-17"]));
        assert_eq!(read(&["order-17"]).unwrap().unwrap().as_str(), "order-17");
    }

    #[test]
    fn rejects_an_invalid_key_and_names_the_header() {
        let nil = Uuid::nil().to_string();
        for invalid in [&[""] as &[&str], &["\"\""], &[&"x".repeat(257)], &["a\tb"], &[&nil], &["a", "b"]] {
            let error = read(invalid).unwrap_err();
            assert!(error.message.starts_with("Idempotency-Key: "), "{invalid:?}: {}", error.message);
        }
    }

    #[test]
    fn ids_depend_on_the_caller_and_are_new_without_a_key() {
        let caller = |user: &str| Caller { user: user.into(), session: "s".into(), role: Role::User };
        let (ann, bob, key) = (caller("ann"), caller("bob"), read(&["k"]).unwrap());
        let id_of = |caller, key| id(&SystemClock, caller, Operation::Log, key);
        assert_eq!(id_of(&ann, key.as_ref()), id_of(&ann, key.as_ref()));
        assert_ne!(id_of(&ann, key.as_ref()), id_of(&bob, key.as_ref()));
        assert_ne!(id_of(&ann, None), id_of(&ann, None));
        assert_eq!(id_of(&ann, None).get_version_num(), 7);
        let of_content =
            |content: &str| id_of_content(&SystemClock, None, Operation::Log, key.as_ref(), &[content]);
        assert_eq!(of_content("a"), of_content("a"));
        assert_ne!(of_content("a"), of_content("b"));
    }
}
