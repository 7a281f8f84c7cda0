//! Passwords: rules for new ones, hashing and verification.

mod common;
pub mod hasher;

pub use hasher::{HashConfig, HashError, Hasher, Verdict};

use weft_values::password::{check_new as check_form, prepare};

use crate::invalid::Invalid;

/// Upper bound of a password as typed: 256 characters of up to four code points of up to four bytes.
pub const MAX_BYTES: usize = 4_096;

/// Checks a new password: its length, and that it is not common, nor made of what is `known` of the user. There are no composition
/// rules, because they do not make passwords stronger (OWASP ASVS 6.2).
///
/// # Errors
/// When the password breaks a rule; names the field.
pub fn check_new(field: &'static str, password: &str, known: &[&str]) -> Result<(), Invalid> {
    check_form(password).map_err(|error| Invalid { field, reason: error.reason() })?;
    if common::is_common(&prepare(password), known) {
        return Err(Invalid {
            field,
            reason: "the password is too common and easy to guess; choose another",
        });
    }
    Ok(())
}

/// Checks the size of a password before it is hashed for a comparison.
///
/// # Errors
/// When the password is empty or too long; names the field.
pub fn check_given(field: &'static str, password: &str) -> Result<(), Invalid> {
    let invalid = |reason| Err(Invalid { field, reason });
    match password.len() {
        0 => invalid("the password is empty"),
        1..=MAX_BYTES => Ok(()),
        _ => invalid("the password has more than 4096 bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_short_long_and_common_new_passwords() {
        let decomposed = "u\u{308}".repeat(80) + &"seventy-7".repeat(19);
        for good in ["correct horse battery", "пятнадцать букв", &"seventy-7".repeat(28), &decomposed]
        {
            assert!(check_new("password", good, &[]).is_ok(), "{good} was rejected");
        }
        for bad in [
            "",
            "short",
            "14 characters.",
            "14 charactu\u{308}rs",
            &"seventy-7".repeat(29),
            "passwordpassword",
            "Password12345678",
            "password\u{a0}\u{3000}password",
            "e\u{301}".repeat(20).as_str(),
        ] {
            assert_eq!(check_new("password", bad, &[]).unwrap_err().field, "password", "{bad} was accepted");
        }
    }

    #[test]
    fn rejects_empty_and_oversized_passwords() {
        assert!(check_given("password", &"x".repeat(1 << 20)).is_err());
        assert!(check_given("password", &"😀".repeat(1_024)).is_ok());
        assert!(check_given("password", "").is_err());
    }
}
