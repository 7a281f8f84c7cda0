//! Passwords: what a new one has to be, and how they are kept and checked.

mod common;
pub mod hasher;
mod memory;

pub use hasher::{HashError, Hasher, Verdict};

use crate::accounts::Invalid;

const SHORTEST: usize = 15;
const LONGEST: usize = 256;
/// More bytes than this are no password of ours (256 characters of four bytes), and are never hashed.
pub const MOST_BYTES: usize = 1_024;

/// Whether this may become a password: length, and none of the common ones. There are no rules of composition, since
/// they make passwords no better (OWASP ASVS 6.2).
///
/// # Errors
/// Names the field, and says what is wanted.
pub fn check_new(field: &'static str, password: &str) -> Result<(), Invalid> {
    let wrong = |reason| Err(Invalid { field, reason });
    let length = password.chars().count();
    if !(SHORTEST..=LONGEST).contains(&length) {
        return wrong("it wants 15 to 256 characters");
    }
    if common::is_common(password) {
        return wrong("it is one of the first that anybody would try");
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
        1..=MOST_BYTES => Ok(()),
        _ => wrong("it has more than 1024 bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_password_is_long_and_not_common() {
        for good in ["correct horse battery", "пятнадцать букв", &"seventy-7".repeat(28)] {
            assert!(check_new("password", good).is_ok(), "{good} was refused");
        }
        for bad in
            ["", "short", "14 characters.", &"seventy-7".repeat(29), "passwordpassword", "Password12345678"]
        {
            assert_eq!(check_new("password", bad).unwrap_err().field, "password", "{bad} was taken");
        }
    }

    #[test]
    fn a_mebibyte_is_no_password() {
        assert!(check_given("password", &"x".repeat(1 << 20)).is_err());
        assert!(check_given("password", &"😀".repeat(256)).is_ok());
        assert!(check_given("password", "").is_err());
    }
}
