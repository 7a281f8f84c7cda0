//! Passwords: what a new one has to be, and how they are kept and checked.

mod common;
pub mod hasher;
mod memory;

pub use hasher::{HashError, Hasher, Verdict};

use weft_values::password::{check_new as check_form, prepare};

use crate::accounts::Invalid;

/// Upper bound for a password as it was typed: 256 characters, each in up to four code points of up to four bytes.
pub const MAX_BYTES: usize = 4_096;

/// Whether this may become a password: length, and none of the common ones. There are no rules of composition, since
/// they make passwords no better (OWASP ASVS 6.2).
///
/// # Errors
/// Names the field, and says what is wanted.
pub fn check_new(field: &'static str, password: &str) -> Result<(), Invalid> {
    check_form(password).map_err(|error| Invalid { field, reason: error.reason() })?;
    if common::is_common(&prepare(password)) {
        return Err(Invalid { field, reason: "the password is one of the first that anyone would try" });
    }
    Ok(())
}

/// Whether this can be a password at all, before any work is spent on it.
///
/// # Errors
/// Names the field, and says what is wanted.
pub fn check_given(field: &'static str, password: &str) -> Result<(), Invalid> {
    let wrong = |reason| Err(Invalid { field, reason });
    match password.len() {
        0 => wrong("it is empty"),
        1..=MAX_BYTES => Ok(()),
        _ => wrong("it has more than 4096 bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_password_is_long_and_not_common() {
        let decomposed = "u\u{308}".repeat(80) + &"seventy-7".repeat(19);
        for good in ["correct horse battery", "пятнадцать букв", &"seventy-7".repeat(28), &decomposed]
        {
            assert!(check_new("password", good).is_ok(), "{good} was refused");
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
            assert_eq!(check_new("password", bad).unwrap_err().field, "password", "{bad} was taken");
        }
    }

    #[test]
    fn a_mebibyte_is_no_password() {
        assert!(check_given("password", &"x".repeat(1 << 20)).is_err());
        assert!(check_given("password", &"😀".repeat(1_024)).is_ok());
        assert!(check_given("password", "").is_err());
    }
}
