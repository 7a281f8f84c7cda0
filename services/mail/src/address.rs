//! Parses email addresses. An accepted address can't end a header or an SMTP command.

use lettre::message::Mailbox;
use weft_values::address::Address;
use weft_values::text;

use crate::validate::Invalid;

/// Upper bound on the characters of an address with its display name.
const MAX_CHARS: usize = 512;

/// Parses one address, with or without a display name.
///
/// An internationalized domain is converted to ASCII, which every server accepts. An internationalized local part is kept; the
/// SMTP server must support SMTPUTF8 for it.
///
/// # Errors
/// Names the field and the reason. The address is not repeated.
pub fn mailbox(field: &'static str, text: &str) -> Result<Mailbox, Invalid> {
    let invalid = |reason: &str| Invalid::new(field, reason);
    let chars = text.chars().count();
    if chars > MAX_CHARS {
        return Err(invalid(&format!("too long: {chars} characters; expected at most {MAX_CHARS}")));
    }
    text::one_line(text).map_err(|error| invalid(error.reason()))?;
    if text.trim().is_empty() {
        return Err(invalid("empty; expected one email address"));
    }
    let not_an_address = |_| invalid("invalid email address; expected one such as Ann <ann@example.com>");
    let (name, address) = match text.contains('<') {
        true => {
            let Mailbox { name, email } = text.parse().map_err(not_an_address)?;
            (name, email.to_string())
        }
        false => (None, text.trim().to_owned()),
    };
    let address = Address::parse(&address).map_err(|error| invalid(error.reason()))?;
    let email = lettre::Address::new(address.local(), address.domain()).map_err(not_an_address)?;
    Ok(Mailbox::new(name.filter(|name| !name.trim().is_empty()), email))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        mailbox("to", text).unwrap().to_string()
    }

    fn error(text: &str) -> String {
        mailbox("to", text).unwrap_err().to_string()
    }

    #[test]
    fn accepts_a_display_name() {
        assert_eq!(read("ann@example.com"), "ann@example.com");
        assert_eq!(read(" Ann Lee <ann@example.com> "), "Ann Lee <ann@example.com>");
        assert_eq!(read("\"Lee, Ann\" <ann@example.com>"), "\"Lee, Ann\" <ann@example.com>");
        let other_scripts = mailbox("to", "Zoë 你好 <zoe@example.com>").unwrap();
        assert_eq!(other_scripts.name.as_deref(), Some("Zoë 你好"));
        assert_eq!(other_scripts.email.to_string(), "zoe@example.com");
    }

    #[test]
    fn accepts_internationalized_addresses() {
        assert_eq!(read("ann@bücher.example"), "ann@xn--bcher-kva.example");
        assert_eq!(read("用户@例え.example"), "用户@xn--r8jz45g.example");
    }

    #[test]
    fn rejects_what_could_end_a_header_or_a_command() {
        for text in [
            "ann@example.com\r\nBcc: eve@example.com",
            "ann@example.com\nBcc: eve@example.com",
            "Ann\r\n <ann@example.com>",
            "Ann\u{85} <ann@example.com>",
            "Ann\u{2028} <ann@example.com>",
            "ann\0@example.com",
            "\tann@example.com",
        ] {
            assert!(error(text).contains("control characters"), "{text:?}");
        }
        for text in [
            "ann@example.com> BODY=8BITMIME <eve@example.com",
            "\"ann> SIZE=1 <eve\"@example.com",
            "\"ann eve\"@example.com",
            "<ann@example.com> eve@example.com",
        ] {
            error(text);
        }
    }

    #[test]
    fn rejects_several_or_partial_addresses() {
        for text in
            ["ann@example.com, eve@example.com", "ann@example.com;eve@example.com", "ann", "@", "a@", "@b"]
        {
            error(text);
        }
    }

    #[test]
    fn rejects_a_long_address() {
        assert_eq!(
            error(&format!("{}@example.com", "x".repeat(10_000))),
            "to: too long: 10012 characters; expected at most 512"
        );
        assert!(error(&format!("ann@{}.example", "x".repeat(64))).contains("63 octets"));
        assert!(error(&format!("{}@example.com", "ü".repeat(40))).contains("64 octets"));
        assert!(error("").contains("empty") && error("  ").contains("empty"));
    }
}
