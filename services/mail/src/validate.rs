//! Validates requests.

use std::collections::BTreeMap;

use lettre::message::Mailbox;
use uuid::Uuid;
use weft_proto::weft::mail::v1::SendRequest;
use weft_values::id;

use crate::address;

/// Upper bound on the number of values.
pub const MAX_VALUES: usize = 64;
/// Upper bound on the bytes of all names and values.
pub const MAX_VALUES_BYTES: usize = 1 << 20;

/// Why a request is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// The invalid field.
    pub field: &'static str,
    /// Why the field is invalid.
    pub reason: String,
}

impl Invalid {
    /// Creates an error.
    pub fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }
}

/// A valid request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Order {
    /// Id chosen by the caller.
    pub id: Uuid,
    /// Name of the template.
    pub template: String,
    /// Recipient.
    pub to: Mailbox,
    /// Address for replies.
    pub reply_to: Option<Mailbox>,
    /// Values for the template.
    pub values: BTreeMap<String, String>,
}

/// Validates a request.
///
/// # Errors
/// Names the first invalid field.
pub fn order(request: SendRequest) -> Result<Order, Invalid> {
    let SendRequest { id, template, to, reply_to, values } = request;
    let bytes: usize = values.iter().map(|(name, value)| name.len() + value.len()).sum();
    if values.len() > MAX_VALUES {
        let reason = format!("too many: {}; expected at most {MAX_VALUES}", values.len());
        return Err(Invalid::new("values", reason));
    }
    if bytes > MAX_VALUES_BYTES {
        let reason = format!("too large: {bytes} bytes in total; expected at most {MAX_VALUES_BYTES}");
        return Err(Invalid::new("values", reason));
    }
    Ok(Order {
        id: id::parse(&id).map_err(|error| Invalid::new("id", error.reason()))?,
        template,
        to: address::mailbox("to", &to)?,
        reply_to: (!reply_to.is_empty()).then(|| address::mailbox("reply_to", &reply_to)).transpose()?,
        values: values.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> SendRequest {
        SendRequest {
            id: "0199f3f0-0000-7000-8000-00000000000A".into(),
            template: "message".into(),
            to: "Ann <ann@example.com>".into(),
            reply_to: String::new(),
            values: [("subject".to_owned(), "s".to_owned())].into(),
        }
    }

    fn error(request: SendRequest) -> String {
        order(request).unwrap_err().to_string()
    }

    #[test]
    fn accepts_a_request_within_the_bounds() {
        let order = order(request()).unwrap();
        assert_eq!(order.id.to_string(), "0199f3f0-0000-7000-8000-00000000000a");
        assert_eq!(order.to.email.to_string(), "ann@example.com");
        assert_eq!(order.reply_to, None);
    }

    #[test]
    fn names_the_invalid_field() {
        assert!(error(SendRequest { id: "7".into(), ..request() }).starts_with("id: "));
        assert!(error(SendRequest { id: Uuid::nil().to_string(), ..request() }).starts_with("id: "));
        assert!(error(SendRequest { to: String::new(), ..request() }).starts_with("to: "));
        assert!(error(SendRequest { reply_to: "x".into(), ..request() }).starts_with("reply_to: "));
    }

    #[test]
    fn bounds_the_number_and_size_of_values() {
        let many = (0..=MAX_VALUES).map(|number| (number.to_string(), String::new())).collect();
        assert!(error(SendRequest { values: many, ..request() }).contains("too many: 65"));
        let large = [("v".to_owned(), "x".repeat(MAX_VALUES_BYTES))].into();
        assert!(error(SendRequest { values: large, ..request() }).contains("1048577 bytes"));
        let just = [("v".to_owned(), "x".repeat(MAX_VALUES_BYTES - 1))].into();
        assert!(order(SendRequest { values: just, ..request() }).is_ok());
    }
}
