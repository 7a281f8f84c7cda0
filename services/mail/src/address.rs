//! Mail addresses as this service takes them: nothing in one may end a header or an SMTP command.

use lettre::message::Mailbox;
use weft_values::address::Address;
use weft_values::text;

use crate::validate::Invalid;

/// An address with its name.
const MAX_CHARS: usize = 512;

/// Reads one address, with or without a name before it.
///
/// A domain in another script becomes its ASCII form, so that any server takes it. A local part in another script is
/// kept: it wants a server that speaks SMTPUTF8.
///
/// # Errors
/// Names the field and what is wrong; never repeats the address.
pub fn mailbox(field: &'static str, text: &str) -> Result<Mailbox, Invalid> {
    let wrong = |reason: &str| Invalid::new(field, reason);
    let chars = text.chars().count();
    if chars > MAX_CHARS {
        return Err(wrong(&format!("it has {chars} characters: at most {MAX_CHARS} are taken")));
    }
    text::one_line(text).map_err(|error| wrong(error.reason()))?;
    if text.trim().is_empty() {
        return Err(wrong("it is empty: one address is wanted"));
    }
    let not_one = |_| wrong("it is not one mail address, such as Ann <ann@example.com>");
    let (name, address) = match text.contains('<') {
        true => {
            let Mailbox { name, email } = text.parse().map_err(not_one)?;
            (name, email.to_string())
        }
        false => (None, text.trim().to_owned()),
    };
    let address = Address::parse(&address).map_err(|error| wrong(error.reason()))?;
    let email = lettre::Address::new(address.local(), address.domain()).map_err(not_one)?;
    Ok(Mailbox::new(name.filter(|name| !name.trim().is_empty()), email))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        mailbox("to", text).unwrap().to_string()
    }

    fn refused(text: &str) -> String {
        mailbox("to", text).unwrap_err().to_string()
    }

    #[test]
    fn an_address_may_have_a_name() {
        assert_eq!(read("ann@example.com"), "ann@example.com");
        assert_eq!(read(" Ann Lee <ann@example.com> "), "Ann Lee <ann@example.com>");
        assert_eq!(read("\"Lee, Ann\" <ann@example.com>"), "\"Lee, Ann\" <ann@example.com>");
        let other_scripts = mailbox("to", "Zoë 你好 <zoe@example.com>").unwrap();
        assert_eq!(other_scripts.name.as_deref(), Some("Zoë 你好"));
        assert_eq!(other_scripts.email.to_string(), "zoe@example.com");
    }

    #[test]
    fn other_scripts_are_taken() {
        assert_eq!(read("ann@bücher.example"), "ann@xn--bcher-kva.example");
        assert_eq!(read("用户@例え.example"), "用户@xn--r8jz45g.example");
    }

    #[test]
    fn what_could_end_a_header_or_a_command_is_refused() {
        for text in [
            "ann@example.com\r\nBcc: eve@example.com",
            "ann@example.com\nBcc: eve@example.com",
            "Ann\r\n <ann@example.com>",
            "Ann\u{85} <ann@example.com>",
            "Ann\u{2028} <ann@example.com>",
            "ann\0@example.com",
            "\tann@example.com",
        ] {
            assert!(refused(text).contains("control characters"), "{text:?}");
        }
        for text in [
            "ann@example.com> BODY=8BITMIME <eve@example.com",
            "\"ann> SIZE=1 <eve\"@example.com",
            "\"ann eve\"@example.com",
            "<ann@example.com> eve@example.com",
        ] {
            refused(text);
        }
    }

    #[test]
    fn only_one_address_is_taken() {
        for text in
            ["ann@example.com, eve@example.com", "ann@example.com;eve@example.com", "ann", "@", "a@", "@b"]
        {
            refused(text);
        }
    }

    #[test]
    fn a_long_address_is_refused_with_its_length() {
        assert_eq!(
            refused(&format!("{}@example.com", "x".repeat(10_000))),
            "to: it has 10012 characters: at most 512 are taken"
        );
        assert!(refused(&format!("ann@{}.example", "x".repeat(64))).contains("63 octets"));
        assert!(refused(&format!("{}@example.com", "ü".repeat(40))).contains("64 octets"));
        assert!(refused("").contains("empty") && refused("  ").contains("empty"));
    }
}
