//! Passwords: the profile OpaqueString of PRECIS (RFC 8265, 4.2).
//!
//! Code points are not looked up in a table of those that are assigned: a password must not depend on a version of Unicode.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;

use crate::Invalid;

/// Minimum length of a new password, in characters of its prepared form.
pub const MIN_CHARACTERS: usize = 15;
/// Maximum length of a new password, in characters of its prepared form.
pub const MAX_CHARACTERS: usize = 256;

/// The form in which passwords are hashed and compared: every space is U+0020, and the text is in NFC.
#[must_use]
pub fn prepare(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    text.chars().map(|c| if is_other_space(c) { ' ' } else { c }).nfc().collect::<String>().into()
}

/// Checks the length of a new password, and that it has no control characters, which can't be typed everywhere.
///
/// # Errors
/// When the prepared form is too short or too long, or has a control character.
pub fn check_new(text: &str) -> Result<(), Invalid> {
    let prepared = prepare(text);
    match prepared.chars().count() {
        0..MIN_CHARACTERS => {
            Err(Invalid("the password has fewer than 15 characters; expected 15 to 256 characters"))
        }
        MIN_CHARACTERS..=MAX_CHARACTERS if prepared.contains(char::is_control) => {
            Err(Invalid("the password has a control character; expected 15 to 256 other characters"))
        }
        MIN_CHARACTERS..=MAX_CHARACTERS => Ok(()),
        _ => Err(Invalid("the password has more than 256 characters; expected 15 to 256 characters")),
    }
}

/// The general category Zs, except U+0020.
fn is_other_space(c: char) -> bool {
    matches!(c, '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_that_look_the_same_have_one_prepared_form() {
        for (raw, prepared) in [
            // RFC 8265, 4.3: examples 20 to 24.
            ("correct horse battery staple", "correct horse battery staple"),
            ("Correct Horse Battery Staple", "Correct Horse Battery Staple"),
            ("πßå", "πßå"),
            ("Jack of ♦s", "Jack of ♦s"),
            ("foo\u{1680}bar", "foo bar"),
            ("u\u{308}ber\u{a0}alles\u{3000}", "über alles "),
            ("\u{1112}\u{1161}\u{11ab}", "\u{d55c}"),
            ("\u{212b}", "å".to_uppercase().as_str()),
            // Compatibility characters and case are kept.
            ("ＡＢＣ\u{fb01}", "ＡＢＣ\u{fb01}"),
        ] {
            assert_eq!(prepare(raw), prepared, "{raw:?}");
            assert_eq!(prepare(&prepare(raw)), prepared, "{raw:?} twice");
        }
    }

    #[test]
    fn lengths_are_those_of_the_prepared_form() {
        assert_eq!(check_new(&"ü".repeat(15)), Ok(()));
        assert_eq!(check_new(&"u\u{308}".repeat(256)), Ok(()));
        assert!(check_new(&"u\u{308}".repeat(14)).unwrap_err().reason().contains("fewer than 15"));
        assert!(check_new(&"u\u{308}".repeat(257)).unwrap_err().reason().contains("more than 256"));
        assert!(check_new(&"x".repeat(14)).is_err() && check_new("").is_err());
    }

    #[test]
    fn a_new_password_has_no_control_characters() {
        for control in ['\0', '\t', '\n', '\u{7f}', '\u{85}'] {
            let text = format!("tulips in a{control}blue vase");
            assert!(check_new(&text).unwrap_err().reason().contains("control character"), "{text:?}");
        }
        assert_eq!(check_new("tulips \u{1f337}\u{fe0f} in a blue vase"), Ok(()));
    }
}
