//! What the encryption keys protect: private signing keys in the store (AES-256-GCM with the key's id as associated data, so that rows
//! can't be swapped), and the tokens of password resets.

use std::sync::Arc;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::random::{self, Random};

/// Length of 32 bytes in base64, without padding.
const MIN_CHARACTERS: usize = 43;

/// A list of encryption keys: the first encrypts, all decrypt. Clones share the keys.
#[derive(Debug, Clone)]
pub struct Sealer {
    keys: Arc<[LessSafeKey]>,
    /// Derives tokens; from the first key of the list.
    tokens: hmac::Key,
}

/// A decrypted private key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// The private key (RFC 8032).
    pub seed: [u8; 32],
    /// Whether it was encrypted with the first key of the list.
    pub is_current: bool,
}

/// Why a private key was not encrypted.
#[derive(Debug, thiserror::Error)]
#[error("failed to encrypt a signing key")]
pub struct SealError;

impl Sealer {
    /// What [`Self::from_lines`] expects.
    pub const EXPECTED: &str = "one key a line, each a random text of at least 43 characters such as `openssl rand -base64 32` prints; the first encrypts";

    /// Parses the list; `None` if it is empty or a line is too short. A key is the SHA-256 of its line.
    pub fn from_lines(lines: &SecretString) -> Option<Self> {
        let mut lines =
            lines.expose_secret().lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
        let tokens = hmac::Key::new(hmac::HMAC_SHA256, lines.peek()?.as_bytes());
        let keys = lines.map(key).collect::<Option<_>>()?;
        Some(Self { keys, tokens })
    }

    /// A token that only this service can compute: HMAC-SHA256 of a text that never repeats.
    pub fn token(&self, text: &[u8]) -> [u8; 32] {
        let tag = hmac::sign(&self.tokens, text);
        let mut token = [0; 32];
        token.copy_from_slice(tag.as_ref());
        token
    }

    /// Encrypts a private key.
    ///
    /// # Errors
    /// When encryption fails.
    pub fn seal(&self, id: Uuid, seed: &[u8; 32], random: &dyn Random) -> Result<Vec<u8>, SealError> {
        let nonce = random::bytes::<NONCE_LEN>(random);
        let mut sealed = seed.to_vec();
        let key = self.keys.first().ok_or(SealError)?;
        key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(id.as_bytes()),
            &mut sealed,
        )
        .map_err(|_| SealError)?;
        Ok([&nonce[..], &sealed].concat())
    }

    /// Decrypts a private key; `None` if no key of the list can.
    pub fn open(&self, id: Uuid, sealed: &[u8]) -> Option<Opened> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        self.keys.iter().enumerate().find_map(|(index, key)| {
            let (nonce, mut sealed) = (Nonce::try_assume_unique_for_key(nonce).ok()?, sealed.to_vec());
            let seed = key.open_in_place(nonce, Aad::from(id.as_bytes()), &mut sealed).ok()?;
            Some(Opened { seed: (&*seed).try_into().ok()?, is_current: index == 0 })
        })
    }
}

fn key(line: &str) -> Option<LessSafeKey> {
    if line.chars().count() < MIN_CHARACTERS {
        return None;
    }
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &Sha256::digest(line)).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SystemRandom;

    const ONE: &str = "one key for tests, of more than 43 characters";
    const TWO: &str = "two keys for tests, of more than 43 characters";
    const ID: Uuid = Uuid::from_u128(1);

    fn sealer(lines: &[&str]) -> Sealer {
        Sealer::from_lines(&lines.join("\n").into()).unwrap()
    }

    #[test]
    fn encrypts_with_the_first_key_and_decrypts_with_all() {
        let sealed = sealer(&[ONE]).seal(ID, &[7; 32], &SystemRandom).unwrap();
        assert_eq!(sealed.len(), 12 + 32 + 16);
        let opened = |lines: &[&str]| sealer(lines).open(ID, &sealed).map(|key| (key.seed, key.is_current));
        assert_eq!(opened(&[ONE]), Some(([7; 32], true)));
        assert_eq!(opened(&[ONE, TWO]), Some(([7; 32], true)));
        assert_eq!(opened(&[TWO, "", ONE, ""]), Some(([7; 32], false)));
        assert_eq!(opened(&[TWO]), None);
    }

    #[test]
    fn rejects_a_modified_row_and_another_rows_key() {
        let sealer = sealer(&[ONE]);
        let sealed = sealer.seal(ID, &[7; 32], &SystemRandom).unwrap();
        assert_ne!(sealed, sealer.seal(ID, &[7; 32], &SystemRandom).unwrap(), "each nonce is used once");
        assert!(sealer.open(Uuid::from_u128(2), &sealed).is_none());
        for byte in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[byte] ^= 1;
            assert!(sealer.open(ID, &changed).is_none(), "{byte}");
            assert!(sealer.open(ID, &sealed[..byte]).is_none(), "{byte}");
        }
    }

    #[test]
    fn rejects_a_list_without_keys_or_with_a_short_key() {
        for lines in ["", "\n \n", "short", &format!("{ONE}\nshort")] {
            assert!(Sealer::from_lines(&lines.into()).is_none(), "{lines:?}");
        }
        assert!(Sealer::from_lines(&"x".repeat(MIN_CHARACTERS).into()).is_some());
    }
}
