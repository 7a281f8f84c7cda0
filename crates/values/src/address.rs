//! Email addresses that SMTP can carry (RFC 5321, internationalized as in RFC 6531).

use email_address::EmailAddress;

use crate::{Invalid, text};

/// Maximum length in octets: an SMTP path has 256, including the angle brackets (RFC 5321, 4.5.3.1.3).
pub const MAX_OCTETS: usize = 254;
/// Maximum length of the part before the @, in octets (RFC 5321, 4.5.3.1.1).
pub const MAX_LOCAL_OCTETS: usize = 64;
/// Maximum length of a label of the domain, in octets (RFC 1035, 2.3.4).
pub const MAX_LABEL_OCTETS: usize = 63;

/// One address, without a display name. Non-ASCII letters are valid on both sides of the @.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    local: String,
    domain: String,
}

impl Address {
    /// Parses an address and converts it to NFC. Quoted local parts and address literals in brackets are not accepted.
    ///
    /// # Errors
    /// When the text is not exactly one address, or has a part that is too long for SMTP or DNS.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let text = &*text::nfc(text);
        if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(Invalid(
                "invalid email address: it has a line break, a space or a control character; expected one such as me@example.com",
            ));
        }
        let (local, domain) = text
            .rsplit_once('@')
            .ok_or(Invalid("invalid email address: it has no @; expected one such as me@example.com"))?;
        check_local(local)?;
        let domain = check_domain(domain)?;
        if local.len() + 1 + domain.len() > MAX_OCTETS {
            return Err(Invalid("invalid email address: it is too long; expected at most 254 octets"));
        }
        Ok(Self { local: local.to_owned(), domain })
    }

    /// The part before the @, in NFC.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain in its ASCII form, which every server and resolver accepts.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }
}

fn check_local(local: &str) -> Result<(), Invalid> {
    if local.len() > MAX_LOCAL_OCTETS {
        return Err(Invalid(
            "invalid email address: the part before the @ is too long; expected at most 64 octets (UTF-8)",
        ));
    }
    if local.contains('"') || !EmailAddress::is_valid_local_part(local) {
        return Err(Invalid(
            "invalid email address: the part before the @ is not valid; expected one such as me@example.com",
        ));
    }
    if local.split_once("=?").is_some_and(|(_, rest)| rest.contains("?=")) {
        return Err(Invalid(
            "invalid email address: the part before the @ looks like an encoded word (=?…?=), which mail programs decode to another address",
        ));
    }
    Ok(())
}

fn check_domain(domain: &str) -> Result<String, Invalid> {
    const INVALID: Invalid =
        Invalid("invalid email address: the domain is not valid; expected one such as example.com");
    let ascii = if domain.is_ascii() {
        domain.to_owned()
    } else {
        idna::domain_to_ascii(domain).map_err(|_| INVALID)?
    };
    for label in ascii.split('.') {
        if label.len() > MAX_LABEL_OCTETS {
            return Err(Invalid(
                "invalid email address: a part of the domain between two dots is too long; expected at most 63 octets",
            ));
        }
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if label.is_empty() || label.starts_with('-') || label.ends_with('-') || !label.bytes().all(valid) {
            return Err(INVALID);
        }
    }
    Ok(ascii)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(text: &str) -> &'static str {
        Address::parse(text).expect_err(text).reason()
    }

    #[test]
    fn rejects_a_local_part_that_mail_programs_decode() {
        for text in ["=?utf-8?q?eve=40example.com=2C?=@example.org", "a=?x?q?y?=b@example.org"] {
            assert!(rejected(text).contains("encoded word"), "{text}");
        }
        Address::parse("!#$%&'*+/=?^_`{|}~@example.org").unwrap();
    }

    #[test]
    fn accepts_addresses_in_every_script() {
        for text in [
            "me@example.com",
            "a.b+c_d-e@mail-1.example.com",
            "o'hara/x=y@localhost",
            "用户@例子.广告",
            "иван@пример.рф",
        ] {
            let address = Address::parse(text).expect(text);
            assert!(address.domain().is_ascii(), "{text}");
            assert_eq!(Some(address.local()), text.split('@').next());
        }
        assert_eq!(Address::parse("ann@bücher.example").unwrap().domain(), "xn--bcher-kva.example");
    }

    #[test]
    fn converts_to_nfc() {
        let address = Address::parse("zoe\u{308}@bu\u{308}cher.example").unwrap();
        assert_eq!((address.local(), address.domain()), ("zo\u{eb}", "xn--bcher-kva.example"));
        // 96 octets as given, 64 in NFC.
        assert!(Address::parse(&format!("{}@b.de", "u\u{308}".repeat(32))).is_ok());
        // The Greek question mark is a semicolon in NFC.
        assert!(rejected("a\u{37e}b@c.d").contains("before the @ is not valid"));
    }

    #[test]
    fn limits_lengths_in_octets_of_the_ascii_form() {
        let label = |letters: usize| format!("a@{}.de", "x".repeat(letters));
        assert!(Address::parse(&format!("{}@b.de", "ü".repeat(32))).is_ok());
        assert!(rejected(&format!("{}@b.de", "ü".repeat(33))).contains("64 octets"));
        assert!(Address::parse(&label(63)).is_ok());
        assert!(rejected(&label(64)).contains("63 octets"));
        // 59 letters in Unicode, more than 63 octets in ASCII.
        assert!(rejected(&format!("a@{}ü.de", "x".repeat(58))).contains("63 octets"));
        let whole = |local: usize| format!("{}@{}", "x".repeat(local), vec!["y".repeat(62); 3].join("."));
        assert!(Address::parse(&whole(64)).is_ok());
        let longer = format!("{}@{}.z", "x".repeat(64), vec!["y".repeat(62); 3].join("."));
        assert!(rejected(&longer).contains("254 octets"));
    }

    #[test]
    fn rejects_everything_but_exactly_one_address() {
        for text in [
            "",
            "me",
            "@example.com",
            "me@",
            "a@b@example.com",
            "a@b.c,d@e.f",
            "a@b.c\r\nBcc: x@y.z",
            "A <a@b.c>",
            "<a@b.c>",
            "a b@c.d",
            "a..b@c.d",
            ".a@b.c",
            "a@b.c.",
            "a@.b",
            "a@-b.c",
            "a@b-.c",
            "a@b_c.d",
            "a@[127.0.0.1]",
            "\"a\"@b.c",
            "\"a b\"@c.d",
            "a\0@b.c",
            "a\u{2028}@b.c",
            "a@b\u{a0}.c",
        ] {
            assert!(rejected(text).contains("invalid email address"), "{text:?}");
        }
    }
}
