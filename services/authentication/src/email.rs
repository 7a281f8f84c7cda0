//! Email addresses, as far as a service can judge them that sends no mail itself.

use crate::accounts::Invalid;

/// As long as SMTP allows (RFC 5321).
const LONGEST: usize = 254;
const LONGEST_LOCAL_PART: usize = 64;

/// An address that may exist. Letters of every script are welcome; blanks, control characters and line breaks are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email(String);

impl Email {
    /// Reads an address; blanks around it do not count.
    ///
    /// # Errors
    /// Names the field `email` and says what is wrong.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let wrong = |reason| Err(Invalid { field: "email", reason });
        let text = text.trim_matches(' ');
        if text.is_empty() {
            return wrong("it is empty");
        }
        if text.len() > LONGEST {
            return wrong("it is longer than 254 bytes");
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || "<>()[],;:\\\"".contains(c)) {
            return wrong("it has a character that no address has");
        }
        match text.rsplit_once('@') {
            Some((local, domain))
                if !local.is_empty()
                    && local.len() <= LONGEST_LOCAL_PART
                    && !local.contains('@')
                    && is_domain(domain) =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => wrong("it is no address such as name@example.com"),
        }
    }

    /// The address as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One spelling for all that differ only in upper and lower case.
    pub fn folded(&self) -> String {
        self.0.to_lowercase()
    }
}

fn is_domain(domain: &str) -> bool {
    domain.split('.').all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'))
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
    fn what_no_address_has_is_refused_with_the_fields_name() {
        let long = format!("{}@example.com", "x".repeat(10_000));
        for wrong in [
            "",
            " ",
            "a",
            "@b",
            "a@",
            "a@b@c",
            "a b@c",
            "a@b\r\nBcc: x@y",
            "a\0@b",
            "a@b..c",
            "a@-b",
            "<a@b>",
            "a\u{2028}@b",
            &long,
        ] {
            assert_eq!(Email::parse(wrong).unwrap_err().field, "email", "{wrong:?} was taken");
        }
    }
}
