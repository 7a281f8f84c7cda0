//! Email addresses of users.

use weft_values::address::Address;
use weft_values::text;

use crate::invalid::Invalid;

/// Upper bound of a stored address.
const MAX_OCTETS: usize = 254;

/// A user's email address, in NFC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// Parses the address of a new user, which must be deliverable. Trims spaces.
    ///
    /// # Errors
    /// When the address is invalid; names the field `email`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text::nfc(text.trim_matches(' '));
        Address::parse(&text).map_err(|error| Invalid { field: "email", reason: error.reason() })?;
        Ok(Self(text.into_owned()))
    }

    /// Parses an address for a lookup or a limit. Accepts addresses that were stored under older, more lenient rules.
    ///
    /// # Errors
    /// When the address is invalid; names the field `email`.
    pub fn known(text: &str) -> Result<Self, Invalid> {
        let invalid = |reason| Invalid { field: "email", reason };
        let text = text::nfc(text.trim_matches(' '));
        text::one_line(&text).map_err(|error| invalid(error.reason()))?;
        if !text.contains('@') || text.len() > MAX_OCTETS {
            return Err(invalid("invalid email address; expected at most 254 octets, with an @"));
        }
        Ok(Self(text.into_owned()))
    }

    /// The address in NFC, with its case preserved.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address in lower case, for comparison.
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_addresses_of_every_script() {
        for address in ["a@b.c", "admin@example.com", "иван@пример.рф", "o'neil+x@localhost", " a@b "]
        {
            assert_eq!(Email::parse(address).unwrap().as_str(), address.trim(), "{address}");
        }
        assert_eq!(Email::parse("ADMIN@Example.com").unwrap().folded(), "admin@example.com");
    }

    #[test]
    fn normalizes_addresses_to_nfc() {
        for read in [Email::parse, Email::known] {
            assert_eq!(read("Zoe\u{308}@example.com").unwrap().as_str(), "Zo\u{eb}@example.com");
            assert_eq!(read("ZOE\u{308}@example.com").unwrap().folded(), "zo\u{eb}@example.com");
        }
    }

    #[test]
    fn rejects_addresses_that_mail_cannot_deliver_to() {
        let local = format!("{}@example.com", "ü".repeat(40));
        let label = format!("a@{}.com", "x".repeat(64));
        for invalid in ["", " ", "a", "a@b@c", "a b@c", "a@b\r\nBcc: x@y", "a\0@b", "<a@b>", &local, &label] {
            assert_eq!(Email::parse(invalid).unwrap_err().field, "email", "{invalid:?}");
        }
    }

    #[test]
    fn accepts_stored_addresses_of_older_rules_for_a_lookup() {
        let label = format!("a@{}.com", "x".repeat(64));
        assert_eq!(Email::known(&label).unwrap().as_str(), label);
        for invalid in ["", "a", "a@b\r\nc", "a\0@b", &format!("a@{}", "x".repeat(300))] {
            assert!(Email::known(invalid).is_err(), "{invalid:?}");
        }
    }
}
