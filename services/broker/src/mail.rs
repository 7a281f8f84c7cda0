//! A mail that a client asks for: what is refused here would else fail after its event was acknowledged.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use weft_values::address::Address;
use weft_values::text;

use crate::body::Rest;
use crate::reply::ApiError;

/// The type of the event that asks for a mail.
pub(crate) const EVENT: &str = "mail.send";
/// What the API's description shows of an address: a form that every mail server takes. Letters of other scripts (RFC 6531)
/// are taken too.
const ADDRESS_PATTERN: &str = "^[A-Za-z0-9]{1,30}([._+-][A-Za-z0-9]{1,30})?@[A-Za-z0-9]{1,30}(-[A-Za-z0-9]{1,30})?(\\.[A-Za-z0-9]{1,30}){1,3}$";
/// A mail, as the Go course's broker takes it.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(expecting = "an object with from, to, subject and message")]
pub(crate) struct Mail {
    /// Where replies go; the mail itself comes from the Stack's address.
    #[schema(schema_with = address_schema)]
    pub(crate) from: String,
    /// Where it goes.
    #[schema(schema_with = address_schema)]
    pub(crate) to: String,
    /// One line.
    #[serde(default)]
    #[schema(max_length = 512, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]*$")]
    pub(crate) subject: String,
    #[serde(default)]
    pub(crate) message: String,
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub(crate) _rest: Rest,
}

impl Mail {
    /// Checks what goes into a mail's header.
    ///
    /// # Errors
    /// 400 that names the field, below this prefix.
    pub(crate) fn check(&self, prefix: &str) -> Result<(), ApiError> {
        check_address(&format!("{prefix}.from"), &self.from)?;
        check_address(&format!("{prefix}.to"), &self.to)?;
        text::subject(&self.subject).map_err(|error| ApiError::invalid(&format!("{prefix}.subject"), error))
    }
}

/// An address in the API's description.
pub(crate) fn address_schema() -> Object {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(ADDRESS_PATTERN)).build()
}

/// One address and nothing beside it: no second line for a header, no list, no name.
///
/// # Errors
/// 400 that names the field. The address itself is not repeated: it may be long, or no text for a person.
pub(crate) fn check_address(field: &str, address: &str) -> Result<(), ApiError> {
    Address::parse(address).map(drop).map_err(|error| ApiError::invalid(field, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_address_is_refused_with_its_field_and_not_repeated() {
        assert_eq!(check_address("mail.to", "jürgen@bücher.example"), Ok(()));
        for wrong in [&format!("{}@example.com", "x".repeat(10_000)), &format!("{}@b.c", "ü".repeat(40)), "a"]
        {
            let error = check_address("mail.to", wrong).unwrap_err();
            assert!(error.message.starts_with("mail.to: invalid email address"), "{wrong:?}");
            assert!(error.message.len() < 200);
        }
    }

    #[test]
    fn a_subject_is_one_line() {
        let mail = |subject: &str| Mail {
            from: "a@b.c".into(),
            to: "d@e.f".into(),
            subject: subject.into(),
            message: "two\nlines".into(),
            _rest: Rest {},
        };
        assert_eq!(mail("Grüße").check("mail"), Ok(()));
        assert!(mail("a\r\nBcc: x@y.z").check("mail").unwrap_err().message.starts_with("mail.subject"));
        assert!(mail("a\u{2028}b").check("mail").is_err());
        assert_eq!(mail(&"ü".repeat(512)).check("mail"), Ok(()));
        assert!(mail(&"x".repeat(513)).check("mail").is_err());
    }
}
