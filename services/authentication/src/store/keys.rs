use jiff::Timestamp;
use uuid::Uuid;

/// A stored key.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// The `kid`.
    pub id: Uuid,
    pub private: Private,
    /// When the key was created and published.
    pub created_at: Timestamp,
    /// When the key begins to sign.
    pub signs_from: Timestamp,
    /// When the next key begins to sign.
    pub signs_until: Timestamp,
    /// When the last token that the key signed has expired.
    pub published_until: Timestamp,
}

/// A private key (RFC 8032).
#[derive(Clone, PartialEq, Eq)]
pub enum Private {
    /// Unencrypted, as written by earlier versions.
    Clear {
        seed: [u8; 32],
        /// When to encrypt the key. Until then, replicas of the earlier version may still read it.
        until: Timestamp,
    },
    /// Encrypted by a [`crate::seal::Sealer`].
    Sealed(Vec<u8>),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, private: _, created_at, signs_from, signs_until, published_until } = self;
        f.debug_struct("Key")
            .field("id", id)
            .field("created_at", created_at)
            .field("signs_from", signs_from)
            .field("signs_until", signs_until)
            .field("published_until", published_until)
            .finish_non_exhaustive()
    }
}
