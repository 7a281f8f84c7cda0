//! The id of what a request makes: the client's key, or a new one.

use axum::http::HeaderMap;
use utoipa::IntoParams;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use uuid::Uuid;
use weft_runtime::clock::Clock;

use crate::reply::ApiError;

/// The header of the IETF's draft `draft-ietf-httpapi-idempotency-key-header`.
const HEADER: &str = "idempotency-key";
const LONGEST: usize = 256;
/// The namespace of ids made from keys; drawn once, and never to change.
const NAMESPACE: Uuid = Uuid::from_u128(0x5b1f_3c6e_9d2a_4e0b_8f77_21c4_a0d9_63e5);

/// The id that the request's key stands for, else a new one.
///
/// # Errors
/// When the key is empty, longer than 256 characters, not printable ASCII, or given twice.
pub(crate) fn id(headers: &HeaderMap, clock: &dyn Clock) -> Result<Uuid, ApiError> {
    let mut keys = headers.get_all(HEADER).iter();
    let Some(key) = keys.next() else { return Ok(clock.new_id()) };
    let key = key.to_str().map_err(|_| refused("has characters other than printable ASCII"))?;
    // The draft writes the key as a quoted string; most clients send it bare.
    let key = key.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(key).trim();
    if keys.next().is_some() {
        return Err(refused("is given twice"));
    }
    if key.contains('\t') {
        return Err(refused("has a tab"));
    }
    if key.is_empty() {
        return Err(refused("is empty"));
    }
    if key.len() > LONGEST {
        return Err(refused("has more than 256 characters"));
    }
    if Uuid::parse_str(key).is_ok_and(|id| weft_values::id::check(id).is_err()) {
        return Err(refused("is the nil UUID: it wants one that was made for this request"));
    }
    Ok(Uuid::parse_str(key).unwrap_or_else(|_| Uuid::new_v5(&NAMESPACE, key.as_bytes())))
}

/// The header, as the API's description has it.
pub(crate) struct Header;

impl IntoParams for Header {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(LONGEST))
            .pattern(Some("^[!-~]([ -~]*[!-~])?$"));
        let header = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some("A repeat with the same key is stored once. A UUID is the id itself; any other text stands for one."))
            .schema(Some(schema));
        vec![header.build()]
    }
}

fn refused(what: &str) -> ApiError {
    ApiError::bad_request(format!("the header Idempotency-Key {what}"))
}

#[cfg(test)]
mod tests {
    use weft_runtime::clock::SystemClock;

    use super::*;

    fn id_of(key: &str) -> Result<Uuid, ApiError> {
        let headers = HeaderMap::from_iter([(HEADER.parse().unwrap(), key.parse().unwrap())]);
        id(&headers, &SystemClock)
    }

    #[test]
    fn a_uuid_is_the_id_itself_and_any_other_key_always_makes_the_same() {
        let uuid = "0191d4b0-7d2a-7c3e-8f00-000000000001";
        assert_eq!(id_of(uuid).unwrap().to_string(), uuid);
        assert_eq!(id_of(&format!("\"{uuid}\"")).unwrap().to_string(), uuid);
        assert_eq!(id_of("order-17").unwrap(), id_of("order-17").unwrap());
        assert_ne!(id_of("order-17").unwrap(), id_of("order-18").unwrap());
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        assert!(id_of("").is_err());
        assert!(id_of("\"\"").is_err());
        assert!(id_of(&"x".repeat(257)).is_err());
        assert!(id_of(&Uuid::nil().to_string()).unwrap_err().message.contains("Idempotency-Key"));
    }

    #[test]
    fn without_a_key_each_id_is_new() {
        let new = || id(&HeaderMap::new(), &SystemClock).unwrap();
        assert_ne!(new(), new());
        assert_eq!(new().get_version_num(), 7);
    }
}
