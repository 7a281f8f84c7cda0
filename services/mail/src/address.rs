//! Mail addresses as this service takes them: nothing in one may end a header or an SMTP command.

use lettre::Address;
use lettre::message::Mailbox;

use crate::validate::Invalid;

/// An address with its name.
const MAX_CHARS: usize = 512;
/// What fits SMTP's path with its angle brackets (RFC 5321, 4.5.3.1.3).
const MAX_ADDRESS_BYTES: usize = 254;

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
    if has_break(text) {
        return Err(wrong("it has a line break or another control character"));
    }
    if text.trim().is_empty() {
        return Err(wrong("it is empty: one address is wanted"));
    }
    let read: Mailbox =
        text.parse().map_err(|_| wrong("it is not one mail address, such as Ann <ann@example.com>"))?;
    let email = ascii_domain(&read.email).ok_or_else(|| wrong("its domain is none"))?;
    let bytes = AsRef::<str>::as_ref(&email).len();
    if bytes > MAX_ADDRESS_BYTES {
        return Err(wrong(&format!("its address has {bytes} bytes: at most {MAX_ADDRESS_BYTES} are taken")));
    }
    if email.user().contains(|c: char| c.is_whitespace() || "<>\"\\,;:()[]@".contains(c)) {
        return Err(wrong("the part before the @ has a character that only quotes would allow"));
    }
    Ok(Mailbox::new(read.name.filter(|name| !name.trim().is_empty()), email))
}

/// Whether a text could end the line that it is written on, or hide something in it.
pub fn has_break(text: &str) -> bool {
    text.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'))
}

fn ascii_domain(address: &Address) -> Option<Address> {
    if address.domain().is_ascii() {
        return Some(address.clone());
    }
    Address::new(address.user(), idna::domain_to_ascii(address.domain()).ok()?).ok()
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
            assert!(refused(text).contains("control character"), "{text:?}");
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
        refused(&format!("ann@{}.example", "x".repeat(200)));
        refused(&format!("{}@example.com", "x".repeat(65)));
        assert!(refused("").contains("empty") && refused("  ").contains("empty"));
    }
}
