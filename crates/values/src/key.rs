//! Idempotency keys, and the ids derived from them.
//!
//! A key belongs to one caller and one operation. The id is a SHA-256 over caller, operation, key and, if the store cannot
//! compare a repeat with the stored content, the content. Each part is prefixed with its length, so that different lists of
//! parts are different bytes.

use sha2::{Digest as _, Sha256};
use uuid::{Builder, Uuid};

use crate::Invalid;
use crate::id;

/// Maximum length of a key, in characters.
pub const MAX_CHARS: usize = 256;

/// Domain separator of these hashes. Must never change.
const DOMAIN: &str = "weft idempotency 1";

/// An idempotency key, as the client sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(String);

impl Key {
    /// Parses a key.
    ///
    /// # Errors
    /// When the text is empty, too long, not printable ASCII, or the nil UUID.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() {
            return Err(Invalid("the key is empty; expected 1 to 256 printable ASCII characters"));
        }
        if !text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(Invalid(
                "the key has a character that is not allowed; expected printable ASCII characters",
            ));
        }
        if text.len() > MAX_CHARS {
            return Err(Invalid("the key is too long; expected at most 256 characters"));
        }
        if let Ok(uuid) = Uuid::try_parse(text) {
            id::check(uuid)?;
        }
        Ok(Self(text.to_owned()))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The operation that a key is used for. Operations do not share keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A log entry that is written by gRPC.
    Log,
    /// An event.
    Event,
    /// A mail.
    Mail,
    /// A new user.
    Users,
}

impl Operation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Event => "event",
            Self::Mail => "mail",
            Self::Users => "users",
        }
    }
}

/// What an id is derived from: a key with its caller and operation.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The caller's user id; `None` when not signed in.
    pub caller: Option<&'a str>,
    /// The operation.
    pub operation: Operation,
    /// The key.
    pub key: &'a str,
    /// Index of the item in a batch that has one key for the whole request.
    pub index: Option<usize>,
}

impl Scope<'_> {
    /// The id for a store that compares content. Does not depend on the content.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.derive(None)
    }

    /// The id for a store that cannot compare content. Different content has a different id.
    #[must_use]
    pub fn id_of_content(&self, content: &[&str]) -> Uuid {
        self.derive(Some(digest(content)))
    }

    fn derive(&self, content: Option<[u8; 32]>) -> Uuid {
        let caller = self.caller.map_or([b"anonymous".as_slice(), b""], |user| [b"user", user.as_bytes()]);
        let index = self.index.map(|index| index.to_string()).unwrap_or_default();
        let content = content.as_ref().map(<[u8; 32]>::as_slice).unwrap_or_default();
        let parts = [DOMAIN.as_bytes(), caller[0], caller[1], self.operation.as_str().as_bytes()];
        let hash = digest(parts.into_iter().chain([self.key.as_bytes(), index.as_bytes(), content]));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        Builder::from_custom_bytes(bytes).into_uuid()
    }
}

fn digest<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        let part = part.as_ref();
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SCOPE: Scope<'static> =
        Scope { caller: Some("ann"), operation: Operation::Log, key: "order-17", index: None };

    #[test]
    fn rejects_an_invalid_key() {
        for (text, part) in [
            ("", "empty"),
            (&"x".repeat(257), "too long"),
            ("a\tb", "not allowed"),
            ("ü", "not allowed"),
            ("00000000-0000-0000-0000-000000000000", "nil UUID"),
            ("{00000000-0000-0000-0000-000000000000}", "nil UUID"),
        ] {
            assert!(Key::parse(text).unwrap_err().reason().contains(part), "{text}");
        }
        for text in ["x", "order 17", &"~".repeat(256), "0191d4b0-7d2a-7c3e-8f00-000000000001"] {
            assert_eq!(Key::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn the_same_scope_and_content_have_the_same_id() {
        assert_eq!(SCOPE.id(), SCOPE.id());
        assert_eq!(SCOPE.id_of_content(&["a", "b"]), SCOPE.id_of_content(&["a", "b"]));
        // Stored ids must not change between versions.
        assert_eq!(SCOPE.id().to_string(), "679161c2-1f87-80fc-8701-42539da54d81");
    }

    #[test]
    fn any_difference_changes_the_id() {
        let scopes = [
            SCOPE,
            Scope { caller: None, ..SCOPE },
            Scope { caller: Some("bob"), ..SCOPE },
            Scope { caller: Some(""), ..SCOPE },
            Scope { operation: Operation::Event, ..SCOPE },
            Scope { operation: Operation::Mail, ..SCOPE },
            Scope { operation: Operation::Users, ..SCOPE },
            Scope { key: "order-18", ..SCOPE },
            Scope { index: Some(0), ..SCOPE },
            Scope { index: Some(1), ..SCOPE },
            Scope { key: "order-1", index: Some(7), ..SCOPE },
        ];
        let contents: [&[&str]; 6] = [&[], &[""], &["ab"], &["a", "b"], &["b", "a"], &["", "ab"]];
        let mut ids: Vec<Uuid> = scopes.iter().map(Scope::id).collect();
        ids.extend(contents.iter().map(|content| SCOPE.id_of_content(content)));
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
        assert!(ids.iter().all(|id| id.get_version_num() == 8));
    }
}
