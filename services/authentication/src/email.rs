//! Email addresses of people.

use weft_values::address::Address;
use weft_values::text;

use crate::accounts::Invalid;

/// Longer than any stored address.
const MAX_OCTETS: usize = 254;

/// A person's address, in NFC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// Reads the address of a new person, to which mails must be able to go. Blanks around it do not count.
    ///
    /// # Errors
    /// Names the field `email` and says what is wrong.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = text::nfc(text.trim_matches(' '));
        Address::parse(&text).map_err(|error| Invalid { field: "email", reason: error.reason() })?;
        Ok(Self(text.into_owned()))
    }

    /// Reads an address to look up or to count under. Addresses that were stored under older rules stay good for that.
    ///
    /// # Errors
    /// Names the field `email` and says what is wrong.
    pub fn known(text: &str) -> Result<Self, Invalid> {
        let wrong = |reason| Invalid { field: "email", reason };
        let text = text::nfc(text.trim_matches(' '));
        text::one_line(&text).map_err(|error| wrong(error.reason()))?;
        if !text.contains('@') || text.len() > MAX_OCTETS {
            return Err(wrong("invalid email address; expected at most 254 octets, with an @"));
        }
        Ok(Self(text.into_owned()))
    }

    /// The address, in NFC, upper and lower case as they were given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One form of all addresses that differ only in upper and lower case.
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_every_script_are_taken() {
        for address in ["a@b.c", "admin@example.com", "иван@пример.рф", "o'neil+x@localhost", " a@b "]
        {
            assert_eq!(Email::parse(address).unwrap().as_str(), address.trim(), "{address}");
        }
        assert_eq!(Email::parse("ADMIN@Example.com").unwrap().folded(), "admin@example.com");
    }

    #[test]
    fn every_spelling_of_an_address_is_one_address() {
        for read in [Email::parse, Email::known] {
            assert_eq!(read("Zoe\u{308}@example.com").unwrap().as_str(), "Zo\u{eb}@example.com");
            assert_eq!(read("ZOE\u{308}@example.com").unwrap().folded(), "zo\u{eb}@example.com");
        }
    }

    #[test]
    fn an_address_that_mail_could_not_use_is_refused_with_the_fields_name() {
        let local = format!("{}@example.com", "ü".repeat(40));
        let label = format!("a@{}.com", "x".repeat(64));
        for wrong in ["", " ", "a", "a@b@c", "a b@c", "a@b\r\nBcc: x@y", "a\0@b", "<a@b>", &local, &label] {
            assert_eq!(Email::parse(wrong).unwrap_err().field, "email", "{wrong:?}");
        }
    }

    #[test]
    fn an_address_that_is_stored_already_can_still_be_looked_up() {
        let label = format!("a@{}.com", "x".repeat(64));
        assert_eq!(Email::known(&label).unwrap().as_str(), label);
        for wrong in ["", "a", "a@b\r\nc", "a\0@b", &format!("a@{}", "x".repeat(300))] {
            assert!(Email::known(wrong).is_err(), "{wrong:?}");
        }
    }
}
