//! Texts with length limits in characters.

use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization as _, is_nfc};

use crate::Invalid;

/// Maximum length of an entry's name, in characters.
pub const ENTRY_NAME: usize = 256;
/// Maximum length of a service's name, in characters.
pub const SERVICE_NAME: usize = 128;
/// Maximum length of a person's first or last name, in characters.
pub const PERSON_NAME: usize = 128;
/// Maximum length of a mail's subject, in characters.
pub const SUBJECT: usize = 512;

/// Checks the name of a log entry. Control characters are allowed, but at least one other character is required.
///
/// # Errors
/// When the name is blank or too long.
pub fn entry_name(text: &str) -> Result<(), Invalid> {
    if text.chars().all(|c| c.is_whitespace() || c.is_control()) {
        return Err(Invalid("the name is empty; expected a few words that say what happened"));
    }
    at_most(text, ENTRY_NAME, "the name is too long; expected at most 256 characters")
}

/// Checks the name of a service.
///
/// # Errors
/// When the name is too long.
pub fn service_name(text: &str) -> Result<(), Invalid> {
    at_most(text, SERVICE_NAME, "the service name is too long; expected at most 128 characters")
}

/// Checks the first or last name of a person.
///
/// # Errors
/// When the name is too long or has more than one line.
pub fn person_name(text: &str) -> Result<(), Invalid> {
    one_line(text)?;
    at_most(text, PERSON_NAME, "the name is too long; expected at most 128 characters")
}

/// Checks the subject of a mail.
///
/// # Errors
/// When the subject is too long or has more than one line.
pub fn subject(text: &str) -> Result<(), Invalid> {
    one_line(text)?;
    at_most(text, SUBJECT, "the subject is too long; expected at most 512 characters")
}

/// Checks that a text is one line without control characters, so that it cannot inject a header or hide text.
///
/// # Errors
/// When the text has a control character or a line separator.
pub fn one_line(text: &str) -> Result<(), Invalid> {
    if text.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err(Invalid("line breaks and control characters are not allowed; expected one line of text"));
    }
    Ok(())
}

/// The text in Unicode's normalization form C: texts that look the same have the same code points.
#[must_use]
pub fn nfc(text: &str) -> Cow<'_, str> {
    if is_nfc(text) { Cow::Borrowed(text) } else { Cow::Owned(text.nfc().collect()) }
}

fn at_most(text: &str, characters: usize, reason: &'static str) -> Result<(), Invalid> {
    // A character has at least one byte, so shorter texts need not be counted.
    if text.len() > characters && text.chars().count() > characters {
        return Err(Invalid(reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_a_blank_entry_name() {
        for blank in ["", " \t\n", "\0", "\u{7f}\u{85}", "\u{a0}\u{2028}"] {
            assert!(entry_name(blank).unwrap_err().reason().contains("empty"), "{blank:?}");
        }
        assert_eq!(entry_name("a\0b\u{1b}[2J\r\n\u{202e}"), Ok(()));
    }

    #[test]
    fn limits_lengths_in_characters() {
        for (check, longest) in [
            (entry_name as fn(&str) -> Result<(), Invalid>, ENTRY_NAME),
            (service_name, SERVICE_NAME),
            (person_name, PERSON_NAME),
            (subject, SUBJECT),
        ] {
            assert_eq!(check(&"ü".repeat(longest)), Ok(()));
            let reason = check(&"ü".repeat(longest + 1)).unwrap_err().to_string();
            assert!(reason.contains(&longest.to_string()), "{reason}");
        }
    }

    #[test]
    fn rejects_line_breaks_in_subjects_and_person_names() {
        for text in ["a\r\nBcc: x@y.z", "a\nb", "a\rb", "a\0b", "a\u{85}b", "a\u{2028}b", "a\u{2029}b"] {
            assert!(subject(text).is_err() && person_name(text).is_err(), "{text:?}");
        }
        assert_eq!((subject(""), subject("Grüße 你好"), person_name("Zoë")), (Ok(()), Ok(()), Ok(())));
    }
}
