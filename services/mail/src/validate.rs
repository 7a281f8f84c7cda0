//! From a request to what may be rendered: every bound is checked here.

use std::collections::BTreeMap;

use lettre::message::Mailbox;
use uuid::Uuid;
use weft_proto::weft::mail::v1::SendRequest;
use weft_values::id;

use crate::address;

/// How many values a mail may have.
pub const MAX_VALUES: usize = 64;
/// What all names and values of a mail may have together.
pub const MAX_VALUES_BYTES: usize = 1 << 20;

/// A request that can never work, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// The field that is wrong.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl Invalid {
    /// This field, for this reason.
    pub fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }
}

/// A mail as it was asked for, within all bounds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Order {
    /// The caller's id.
    pub id: Uuid,
    /// The template's name.
    pub template: String,
    /// Where it goes.
    pub to: Mailbox,
    /// Where replies go.
    pub reply_to: Option<Mailbox>,
    /// What the template asks for.
    pub values: BTreeMap<String, String>,
}

/// Checks a request.
///
/// # Errors
/// Names the first field that is wrong.
pub fn order(request: SendRequest) -> Result<Order, Invalid> {
    let SendRequest { id, template, to, reply_to, values } = request;
    let bytes: usize = values.iter().map(|(name, value)| name.len() + value.len()).sum();
    if values.len() > MAX_VALUES {
        let reason = format!("there are {}: at most {MAX_VALUES} are taken", values.len());
        return Err(Invalid::new("values", reason));
    }
    if bytes > MAX_VALUES_BYTES {
        let reason = format!("they have {bytes} bytes together: at most {MAX_VALUES_BYTES} are taken");
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

    fn refused(request: SendRequest) -> String {
        order(request).unwrap_err().to_string()
    }

    #[test]
    fn a_request_within_the_bounds_is_taken() {
        let order = order(request()).unwrap();
        assert_eq!(order.id.to_string(), "0199f3f0-0000-7000-8000-00000000000a");
        assert_eq!(order.to.email.to_string(), "ann@example.com");
        assert_eq!(order.reply_to, None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(refused(SendRequest { id: "7".into(), ..request() }).starts_with("id: "));
        assert!(refused(SendRequest { id: Uuid::nil().to_string(), ..request() }).starts_with("id: "));
        assert!(refused(SendRequest { to: String::new(), ..request() }).starts_with("to: "));
        assert!(refused(SendRequest { reply_to: "x".into(), ..request() }).starts_with("reply_to: "));
    }

    #[test]
    fn values_are_bounded_in_number_and_in_size() {
        let many = (0..=MAX_VALUES).map(|number| (number.to_string(), String::new())).collect();
        assert!(refused(SendRequest { values: many, ..request() }).contains("there are 65"));
        let large = [("v".to_owned(), "x".repeat(MAX_VALUES_BYTES))].into();
        assert!(refused(SendRequest { values: large, ..request() }).contains("1048577 bytes"));
        let just = [("v".to_owned(), "x".repeat(MAX_VALUES_BYTES - 1))].into();
        assert!(order(SendRequest { values: just, ..request() }).is_ok());
    }
}
