//! The keys that sign access tokens: created at the first start, rotated automatically, shared by all replicas, encrypted in the
//! store.
//!
//! A key is published some time before it signs, so that verifiers have fetched it by then, and stays published until the last
//! token that it signed has expired. One key signs at a time: the newest whose start time has passed.
//!
//! A key that can't be decrypted neither signs nor is published. It stays in the store until it expires, because another replica may
//! have its encryption key. When no usable key is left, a new one is created and signs at once. Sessions are not affected.

mod rotation;

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use uuid::Uuid;
use weft_runtime::clock::Clock;

pub use rotation::Rotation;

use crate::metrics::Metrics;
use crate::outbox::Letter;
use crate::random::{self, Random};
use crate::seal::{Opened, SealError, Sealer};
use crate::store::{Key, PostgresStore, Private, StoreError};
use crate::token::{Signer, TokenError};

/// The keys that this replica has loaded. Clones share them.
#[derive(Debug, Clone)]
pub struct KeyRing {
    known: Arc<RwLock<Known>>,
    rotation: Rotation,
    sealer: Sealer,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    metrics: Metrics,
}

#[derive(Debug, Clone, Default)]
struct Known {
    keys: Arc<Vec<Usable>>,
    /// Keys that could not be decrypted.
    unreadable: BTreeSet<Uuid>,
}

#[derive(Debug)]
struct Usable {
    signs_from: Timestamp,
    published_until: Timestamp,
    signer: Arc<Signer>,
}

impl KeyRing {
    /// An empty ring, to be filled by [`Self::refresh`].
    pub fn new(
        rotation: Rotation,
        sealer: Sealer,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        metrics: Metrics,
    ) -> Self {
        Self { known: Arc::default(), rotation, sealer, clock, random, metrics }
    }

    /// Interval between refreshes.
    pub fn tick(&self) -> Duration {
        self.rotation.tick()
    }

    /// Creates the next key when it is due, deletes expired keys, encrypts the keys that are not encrypted with the first
    /// encryption key, and loads the keys that other replicas have created.
    ///
    /// # Errors
    /// When the store is unavailable, or a key can't be used.
    pub async fn refresh(&self, store: &PostgresStore) -> Result<(), KeyError> {
        let now = self.clock.now();
        let mut keys = store.signing_keys().await?;
        if self.is_due(&keys, now) {
            let (ring, fresh) = (self.clone(), self.fresh()?);
            let change = move |keys| ring.maintained(keys, fresh, now);
            keys = store.change_signing_keys(Box::new(change), &[]).await?;
        }
        self.learn(&keys)
    }

    /// Creates a new key. It signs once every verifier has fetched it; the former keys stay published until their last token has
    /// expired. With `revoke`, the new key signs at once and the former keys are deleted, so that their tokens are refused.
    ///
    /// # Errors
    /// When the store is unavailable, or a key can't be used.
    pub async fn rotate(
        &self,
        store: &PostgresStore,
        revoke: bool,
        letters: &[Letter],
    ) -> Result<Key, KeyError> {
        let (id, private) = self.fresh()?;
        let key = self.rotation.next(id, private, self.clock.now(), revoke);
        let (rotation, next) = (self.rotation, key.clone());
        let change = move |keys| rotation.replaced(keys, next, revoke);
        let keys = store.change_signing_keys(Box::new(change), letters).await?;
        self.learn(&keys)?;
        Ok(key)
    }

    /// The key that signs now; `None` before the first refresh. When no usable key has reached its start time, the next one signs
    /// early.
    pub fn signer(&self) -> Option<Arc<Signer>> {
        let now = self.clock.now();
        let keys = self.known().keys;
        let begun = keys.iter().filter(|key| key.signs_from <= now).max_by_key(|key| key.signs_from);
        let key = begun.or_else(|| keys.iter().min_by_key(|key| key.signs_from));
        key.map(|key| Arc::clone(&key.signer))
    }

    /// The published keys as a JSON Web Key Set; `None` before the first refresh.
    pub fn jwks(&self) -> Option<String> {
        let now = self.clock.now();
        let keys = self.known().keys;
        let published = keys.iter().filter(|key| key.published_until > now);
        let keys: Vec<_> = published.map(|key| key.signer.jwk()).collect();
        (!keys.is_empty()).then(|| serde_json::json!({ "keys": keys }).to_string())
    }

    /// Id and encrypted private key of a new key.
    fn fresh(&self) -> Result<(Uuid, Private), SealError> {
        let (id, seed) = (self.clock.new_id(), random::bytes(&*self.random));
        Ok((id, Private::Sealed(self.sealer.seal(id, &seed, &*self.random)?)))
    }

    /// Whether [`Self::maintained`] would change anything.
    fn is_due(&self, keys: &[Key], now: Timestamp) -> bool {
        let stale = |key: &Key| self.open(key, now).is_some_and(|opened| !opened.is_current);
        keys.iter().any(|key| key.published_until <= now || stale(key))
            || self.rotation.next_signs_from(self.usable(keys, now), now).is_some()
    }

    /// The keys without expired ones, each encrypted with the first encryption key, and with the next key if it is due.
    fn maintained(&self, mut keys: Vec<Key>, (id, private): (Uuid, Private), now: Timestamp) -> Vec<Key> {
        keys.retain(|key| key.published_until > now);
        for key in &mut keys {
            let Some(Opened { seed, is_current: false }) = self.open(key, now) else { continue };
            if let Ok(sealed) = self.sealer.seal(key.id, &seed, &*self.random) {
                key.private = Private::Sealed(sealed);
            }
        }
        let due = self.rotation.next_signs_from(self.usable(&keys, now), now);
        keys.extend(due.map(|signs_from| self.rotation.key(id, private, now, signs_from)));
        keys
    }

    fn usable<'a>(&self, keys: &'a [Key], now: Timestamp) -> impl Iterator<Item = &'a Key> {
        keys.iter().filter(move |key| self.open(key, now).is_some())
    }

    fn open(&self, key: &Key, now: Timestamp) -> Option<Opened> {
        match &key.private {
            Private::Clear { seed, until } => Some(Opened { seed: *seed, is_current: now < *until }),
            Private::Sealed(sealed) => self.sealer.open(key.id, sealed),
        }
    }

    fn learn(&self, keys: &[Key]) -> Result<(), KeyError> {
        let (mut usable, mut unreadable) = (Vec::new(), BTreeSet::new());
        for key in keys {
            let Some(Opened { seed, .. }) = self.open(key, self.clock.now()) else {
                unreadable.insert(key.id);
                continue;
            };
            let signer = Arc::new(Signer::new(key.id, &SigningKey::from_bytes(&seed))?);
            let Key { signs_from, published_until, .. } = *key;
            usable.push(Usable { signs_from, published_until, signer });
        }
        for id in unreadable.difference(&self.known().unreadable) {
            tracing::error!(
                kid = %id,
                "a signing key can't be decrypted with any key of AUTH_ENCRYPTION_KEYS; it is not used, and its tokens are refused"
            );
        }
        self.metrics.unreadable_keys(unreadable.len());
        let known = Known { keys: Arc::new(usable), unreadable };
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    fn known(&self) -> Known {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Why the keys could not be refreshed or rotated.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("failed to read a signing key")]
    Key(#[from] TokenError),
    #[error(transparent)]
    Seal(#[from] SealError),
}
