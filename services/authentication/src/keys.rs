//! The keys that sign access tokens: made at the first start, changed by themselves, shared by all replicas.
//!
//! A key is published for a while before it signs, so that whoever checks tokens knows it by then, and until the last
//! token that it signed has ended. At any moment one key signs: of those whose time has begun, the youngest.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use uuid::Uuid;
use weft_runtime::clock::Clock;

use crate::random::{self, Random};
use crate::session::{after, before};
use crate::store::{Store, StoreError};
use crate::token::{Signer, TokenError};

/// Longest time that a key is published before it signs.
const LONGEST_LEAD: Duration = Duration::from_secs(86_400);
/// Clocks of those who check tokens may be this wrong.
const SKEW: Duration = Duration::from_secs(60);
const LONGEST_TICK: Duration = Duration::from_secs(60);

/// When keys change.
#[derive(Debug, Clone, Copy)]
pub struct Rotation {
    /// How long a key signs.
    pub life: Duration,
    /// How long a token that it signed lives.
    pub token_life: Duration,
}

/// A key and its times.
#[derive(Clone)]
pub struct Key {
    /// The `kid`.
    pub id: Uuid,
    /// The private key (RFC 8032).
    pub seed: [u8; 32],
    /// When it was made and published.
    pub created_at: Timestamp,
    /// When it begins to sign.
    pub signs_from: Timestamp,
    /// When the next one takes over.
    pub signs_until: Timestamp,
    /// When the last token that it signed has ended.
    pub published_until: Timestamp,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, seed: _, created_at, signs_from, signs_until, published_until } = self;
        f.debug_struct("Key")
            .field("id", id)
            .field("created_at", created_at)
            .field("signs_from", signs_from)
            .field("signs_until", signs_until)
            .field("published_until", published_until)
            .finish_non_exhaustive()
    }
}

impl Rotation {
    fn lead(&self) -> Duration {
        (self.life / 10).min(LONGEST_LEAD)
    }

    /// How often to look whether a key is due.
    pub fn tick(&self) -> Duration {
        (self.lead() / 4).clamp(Duration::from_millis(100), LONGEST_TICK)
    }

    /// When the next key has to begin to sign, if it is time to publish it.
    fn next_signs_from(&self, keys: &[Key], now: Timestamp) -> Option<Timestamp> {
        match keys.iter().map(|key| key.signs_until).max() {
            None => Some(now),
            Some(until) if before(until, self.lead()) <= now => Some(until.max(now)),
            Some(_) => None,
        }
    }

    /// The key that has to be added to these now, if one has to.
    pub fn due(&self, keys: &[Key], now: Timestamp, id: Uuid, random: &dyn Random) -> Option<Key> {
        let signs_from = self.next_signs_from(keys, now)?;
        let signs_until = after(signs_from, self.life);
        Some(Key {
            id,
            seed: random::bytes(random),
            created_at: now,
            signs_from,
            signs_until,
            published_until: after(signs_until, self.token_life + SKEW),
        })
    }
}

/// The keys as this replica knows them.
#[derive(Debug, Clone)]
pub struct KeyRing {
    known: Arc<RwLock<Arc<Vec<Known>>>>,
    rotation: Rotation,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

#[derive(Debug)]
struct Known {
    signs_from: Timestamp,
    published_until: Timestamp,
    signer: Arc<Signer>,
}

impl KeyRing {
    /// An empty ring: [`Self::refresh`] fills it.
    pub fn new(rotation: Rotation, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self { known: Arc::default(), rotation, clock, random }
    }

    /// When to refresh again.
    pub fn tick(&self) -> Duration {
        self.rotation.tick()
    }

    /// Makes the key that is due, drops those whose time is over, and learns what other replicas have made.
    ///
    /// # Errors
    /// When the store can't be asked, or has what is no key.
    pub async fn refresh(&self, store: &dyn Store) -> Result<(), KeyError> {
        let now = self.clock.now();
        let id = self.clock.new_id();
        let keys = store.signing_keys().await?;
        let over = keys.iter().any(|key| key.published_until <= now);
        let keys = if over || self.rotation.next_signs_from(&keys, now).is_some() {
            let (rotation, random) = (self.rotation, Arc::clone(&self.random));
            let due = move |keys: &[Key]| rotation.due(keys, now, id, &*random);
            store.rotate_signing_keys(now, Box::new(due)).await?
        } else {
            keys
        };
        let known = keys.iter().map(Known::from_key).collect::<Result<_, _>>()?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
        Ok(())
    }

    /// The key that signs now; `None` before the first refresh.
    pub fn signer(&self) -> Option<Arc<Signer>> {
        let now = self.clock.now();
        let known = self.known();
        let begun = known.iter().filter(|key| key.signs_from <= now);
        begun.max_by_key(|key| key.signs_from).map(|key| Arc::clone(&key.signer))
    }

    /// The published keys as a JSON Web Key Set; `None` before the first refresh.
    pub fn jwks(&self) -> Option<String> {
        let now = self.clock.now();
        let known = self.known();
        let published = known.iter().filter(|key| key.published_until > now);
        let keys: Vec<_> = published.map(|key| key.signer.jwk()).collect();
        (!keys.is_empty()).then(|| serde_json::json!({ "keys": keys }).to_string())
    }

    fn known(&self) -> Arc<Vec<Known>> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Known {
    fn from_key(key: &Key) -> Result<Self, TokenError> {
        Ok(Self {
            signs_from: key.signs_from,
            published_until: key.published_until,
            signer: Arc::new(Signer::new(key.id, &SigningKey::from_bytes(&key.seed))?),
        })
    }
}

/// Why the keys could not be refreshed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key is none.
    #[error("failed to read a signing key")]
    Key(#[from] TokenError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::FixedRandom;

    const DAY: i64 = 86_400;
    const ROTATION: Rotation =
        Rotation { life: Duration::from_secs(30 * DAY as u64), token_life: Duration::from_secs(300) };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_764_000_000 + seconds).unwrap()
    }

    fn due(keys: &[Key], now: Timestamp) -> Option<Key> {
        ROTATION.due(keys, now, Uuid::from_u128(keys.len() as u128 + 1), &FixedRandom(1))
    }

    #[test]
    fn the_first_key_signs_at_once_and_the_next_is_published_a_day_before_it_signs() {
        let first = due(&[], at(0)).unwrap();
        assert_eq!((first.signs_from, first.signs_until), (at(0), at(30 * DAY)));
        assert_eq!(first.published_until, at(30 * DAY + 360));
        let keys = [first];
        assert!(due(&keys, at(29 * DAY - 1)).is_none());
        let second = due(&keys, at(29 * DAY)).unwrap();
        assert_eq!((second.created_at, second.signs_from), (at(29 * DAY), at(30 * DAY)));
        let [first] = keys;
        assert!(due(&[first, second], at(30 * DAY)).is_none());
    }

    #[test]
    fn after_a_long_absence_the_next_key_signs_at_once() {
        let first = due(&[], at(0)).unwrap();
        let late = due(&[first], at(100 * DAY)).unwrap();
        assert_eq!(late.signs_from, at(100 * DAY));
    }

    #[test]
    fn short_lives_have_short_leads() {
        let rotation = Rotation { life: Duration::from_secs(10), token_life: Duration::from_secs(2) };
        assert_eq!(rotation.lead(), Duration::from_secs(1));
        assert_eq!(rotation.tick(), Duration::from_millis(250));
    }

    #[test]
    fn a_private_key_is_never_shown() {
        let key = due(&[], at(0)).unwrap();
        assert!(!format!("{key:?}").contains("seed"));
    }
}
