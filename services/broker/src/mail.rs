//! Mails that clients send. They are validated here because an invalid mail could otherwise only fail after its event was
//! acknowledged.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};
use weft_values::address::Address;
use weft_values::text;

use crate::body::Rest;
use crate::reply::ApiError;

/// The type of the event that sends a mail.
pub(crate) const EVENT: &str = "mail.send";
/// Pattern of email addresses in the OpenAPI description: addresses that every mail server accepts. The broker also accepts
/// letters of other scripts (RFC 6531).
const ADDRESS_PATTERN: &str = "^[A-Za-z0-9]{1,30}([._+-][A-Za-z0-9]{1,30})?@[A-Za-z0-9]{1,30}(-[A-Za-z0-9]{1,30})?(\\.[A-Za-z0-9]{1,30}){1,3}$";

/// A mail, with the fields of the Go course's broker.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(expecting = "an object with from, to, subject and message")]
pub(crate) struct Mail {
    /// Address for replies; the mail itself is sent from the Stack's address.
    #[schema(schema_with = address_schema)]
    pub(crate) from: String,
    /// The recipient.
    #[schema(schema_with = address_schema)]
    pub(crate) to: String,
    /// A single line.
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
    /// Validates the fields that go into the mail's header.
    ///
    /// # Errors
    /// 400 that names the field, with this prefix.
    pub(crate) fn check(&self, prefix: &str) -> Result<(), ApiError> {
        check_address(&format!("{prefix}.from"), &self.from)?;
        check_address(&format!("{prefix}.to"), &self.to)?;
        text::subject(&self.subject).map_err(|error| ApiError::invalid(&format!("{prefix}.subject"), error))
    }
}

/// Schema of an email address in the OpenAPI description.
pub(crate) fn address_schema() -> Object {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(ADDRESS_PATTERN)).build()
}

/// Validates a single address: no line breaks (which could add a header), no list, no display name.
///
/// # Errors
/// 400 that names the field. The address is not repeated, because it may be long or unprintable.
pub(crate) fn check_address(field: &str, address: &str) -> Result<(), ApiError> {
    Address::parse(address).map(drop).map_err(|error| ApiError::invalid(field, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_an_invalid_address_by_field_name_without_repeating_it() {
        assert_eq!(check_address("mail.to", "jürgen@bücher.example"), Ok(()));
        for invalid in
            [&format!("{}@example.com", "x".repeat(10_000)), &format!("{}@b.c", "ü".repeat(40)), "a"]
        {
            let error = check_address("mail.to", invalid).unwrap_err();
            assert!(error.message.starts_with("mail.to: invalid email address"), "{invalid:?}");
            assert!(error.message.len() < 200);
        }
    }

    #[test]
    fn rejects_subjects_with_line_breaks_or_over_512_characters() {
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
