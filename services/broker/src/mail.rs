//! A mail that a client asks for: what is refused here would else fail after its event was acknowledged.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

use crate::body::Rest;
use crate::reply::ApiError;

/// The type of the event that asks for a mail.
pub(crate) const EVENT: &str = "mail.send";
/// What the API's description shows of an address: a form that every mail server takes. Letters of other scripts (RFC 6531)
/// are taken too.
const ADDRESS_PATTERN: &str = "^[A-Za-z0-9]{1,30}([._+-][A-Za-z0-9]{1,30})?@[A-Za-z0-9]{1,30}(-[A-Za-z0-9]{1,30})?(\\.[A-Za-z0-9]{1,30}){1,3}$";
const LONGEST_LOCAL: usize = 64;
const LONGEST_DOMAIN: usize = 189;
/// What the mail service takes.
const LONGEST_SUBJECT: usize = 512;

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
        if self.subject.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
            return Err(ApiError::bad_request(format!(
                "{prefix}.subject has a line break or another control character"
            )));
        }
        if self.subject.chars().count() > LONGEST_SUBJECT {
            return Err(ApiError::bad_request(format!(
                "{prefix}.subject has more than {LONGEST_SUBJECT} characters"
            )));
        }
        Ok(())
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
    let refused = |what: &str| {
        ApiError::bad_request(format!("{field} {what}: it wants one address such as me@example.com"))
    };
    if address.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(refused("has a line break, a space or a control character"));
    }
    let Some((local, domain)) = address.rsplit_once('@') else { return Err(refused("has no @")) };
    if local.chars().count() > LONGEST_LOCAL || domain.chars().count() > LONGEST_DOMAIN {
        return Err(refused("is too long"));
    }
    let wrong_local = local.split('.').any(str::is_empty) || local.contains(|c| "@<>()[],;:\\\"".contains(c));
    let wrong_label = |label: &str| {
        label.is_empty()
            || label.starts_with('-')
            || label.ends_with('-')
            || !label.chars().all(|c| c.is_alphanumeric() || c == '-')
    };
    if wrong_local || domain.split('.').any(wrong_label) {
        return Err(refused("is no address"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stands_alone() {
        for good in
            ["a@b.c", "first.last+tag@example.com", "jürgen@bücher.example", "用户@例子.广告", "me@localhost"]
        {
            assert_eq!(check_address("to", good), Ok(()), "{good}");
        }
        let long = format!("{}@example.com", "x".repeat(10_000));
        for wrong in [
            "",
            "a",
            "@",
            "a@",
            "@b",
            "a b@c.d",
            "a@b.c\r\nBcc: x@y.z",
            "a@b.c,d@e.f",
            "A <a@b.c>",
            "a@b@c",
            ".a@b.c",
            "a..b@c.d",
            "a@-b.c",
            "a@b-.c",
            "a@b..c",
            "\"a\"@b.c",
            "a\0@b.c",
            &long,
        ] {
            let error = check_address("mail.to", wrong).unwrap_err();
            assert!(error.message.starts_with("mail.to "), "{wrong:?}");
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
