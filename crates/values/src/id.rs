//! Ids that clients generate.

use uuid::Uuid;

use crate::Invalid;

/// Parses a UUID that is not the nil UUID.
///
/// # Errors
/// When the text is empty, not a UUID, or the nil UUID.
pub fn parse(text: &str) -> Result<Uuid, Invalid> {
    match Uuid::try_parse(text) {
        Ok(id) if id.is_nil() => Err(NIL),
        Ok(id) => Ok(id),
        Err(_) if text.is_empty() => Err(Invalid("the id is missing; expected a UUID")),
        Err(_) => Err(Invalid("the id is not a UUID; expected a UUID")),
    }
}

/// Checks that a UUID is not the nil UUID.
///
/// # Errors
/// When the UUID is the nil UUID.
pub fn check(id: Uuid) -> Result<Uuid, Invalid> {
    if id.is_nil() { Err(NIL) } else { Ok(id) }
}

const NIL: Invalid = Invalid("the nil UUID is not allowed; expected a UUID that is unique to this item");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_the_nil_uuid_and_other_text() {
        assert_eq!(parse("0191D4B0-7d2a-7c3e-8f00-000000000001").unwrap().get_version_num(), 7);
        for (text, part) in [
            ("", "missing"),
            ("7", "not a UUID"),
            (&Uuid::nil().to_string(), "nil"),
            (&"0".repeat(32), "nil"),
        ] {
            assert!(parse(text).unwrap_err().reason().contains(part), "{text}");
        }
        assert_eq!(check(Uuid::nil()), Err(NIL));
        assert_eq!(check(Uuid::from_u128(1)), Ok(Uuid::from_u128(1)));
    }
}
