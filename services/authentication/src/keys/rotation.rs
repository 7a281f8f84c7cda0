//! The schedule of signing keys.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::session::{after, before};
use crate::store::{Key, Private};

/// Longest time between the publication of a key and its first signature.
const MAX_LEAD: Duration = Duration::from_secs(86_400);
/// Tolerated clock difference between this service and verifiers.
const SKEW: Duration = Duration::from_secs(60);
/// When all verifiers have fetched a published key: the broker's key set is at most 30 s old, and the reply to
/// `/.well-known/jwks.json` may be cached for 60 s.
const FETCHED_AFTER: Duration = Duration::from_secs(100);
/// Longest refresh interval. For this long a replica may sign with a key that another replica has revoked.
const MAX_TICK: Duration = Duration::from_secs(5);

/// The schedule of signing keys.
#[derive(Debug, Clone, Copy)]
pub struct Rotation {
    /// How long a key signs.
    pub life: Duration,
    /// Lifetime of access tokens.
    pub token_life: Duration,
}

impl Rotation {
    fn lead(&self) -> Duration {
        (self.life / 10).min(MAX_LEAD)
    }

    /// Interval between checks whether a key is due.
    pub fn tick(&self) -> Duration {
        (self.lead() / 4).clamp(Duration::from_millis(100), MAX_TICK)
    }

    /// When the next key begins to sign, if it is time to publish it.
    pub(super) fn next_signs_from<'a>(
        &self,
        keys: impl Iterator<Item = &'a Key>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        match keys.map(|key| key.signs_until).max() {
            None => Some(now),
            Some(until) if before(until, self.lead()) <= now => Some(until.max(now)),
            Some(_) => None,
        }
    }

    /// A key that is created at `now` and signs from `signs_from`.
    pub(super) fn key(&self, id: Uuid, private: Private, now: Timestamp, signs_from: Timestamp) -> Key {
        let signs_until = after(signs_from, self.life);
        let published_until = self.published_until(signs_until);
        Key { id, private, created_at: now, signs_from, signs_until, published_until }
    }

    /// The key of a manual rotation. With `revoke` it signs at once, otherwise once every verifier has fetched it.
    pub(super) fn next(&self, id: Uuid, private: Private, now: Timestamp, revoke: bool) -> Key {
        let lead = self.lead().min(FETCHED_AFTER).max(self.tick() * 2);
        let signs_from = if revoke { now } else { after(now, lead) };
        self.key(id, private, now, signs_from)
    }

    /// The keys after `next` has replaced the others. Keys that have not signed yet are dropped. The others stay published until
    /// their last token has expired, or are dropped with `revoke`.
    pub(super) fn replaced(&self, mut keys: Vec<Key>, next: Key, revoke: bool) -> Vec<Key> {
        keys.retain(|key| !revoke && key.signs_from <= next.signs_from);
        for key in &mut keys {
            key.signs_until = key.signs_until.min(next.signs_from);
            key.published_until = key.published_until.min(self.published_until(key.signs_until));
        }
        keys.push(next);
        keys
    }

    fn published_until(&self, signs_until: Timestamp) -> Timestamp {
        after(signs_until, self.token_life + SKEW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;
    const ROTATION: Rotation =
        Rotation { life: Duration::from_secs(30 * DAY as u64), token_life: Duration::from_secs(300) };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_764_000_000 + seconds).unwrap()
    }

    fn key(n: u128, now: Timestamp, signs_from: Timestamp) -> Key {
        ROTATION.key(Uuid::from_u128(n), Private::Sealed(Vec::new()), now, signs_from)
    }

    fn due(keys: &[Key], now: Timestamp) -> Option<Key> {
        ROTATION.next_signs_from(keys.iter(), now).map(|from| key(keys.len() as u128 + 1, now, from))
    }

    #[test]
    fn publishes_the_next_key_a_day_before_it_signs() {
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
    fn an_overdue_key_signs_at_once() {
        let first = due(&[], at(0)).unwrap();
        let late = due(&[first], at(100 * DAY)).unwrap();
        assert_eq!(late.signs_from, at(100 * DAY));
    }

    #[test]
    fn a_short_key_life_has_a_short_lead() {
        let rotation = Rotation { life: Duration::from_secs(10), token_life: Duration::from_secs(2) };
        assert_eq!(rotation.lead(), Duration::from_secs(1));
        assert_eq!(rotation.tick(), Duration::from_millis(250));
    }

    #[test]
    fn keeps_replaced_keys_published_and_drops_revoked_ones() {
        let keys = vec![key(1, at(0), at(0)), key(2, at(29 * DAY), at(30 * DAY))];
        let next = ROTATION.next(Uuid::from_u128(3), Private::Sealed(Vec::new()), at(29 * DAY), false);
        assert_eq!(next.signs_from, at(29 * DAY + 100), "every verifier has fetched it by then");
        let replaced = ROTATION.replaced(keys.clone(), next.clone(), false);
        let ids: Vec<_> = replaced.iter().map(|key| key.id.as_u128()).collect();
        assert_eq!(ids, [1, 3], "a key that has not signed yet is dropped");
        assert_eq!(replaced[0].signs_until, next.signs_from);
        assert_eq!(replaced[0].published_until, at(29 * DAY + 100 + 360));

        let next = ROTATION.next(Uuid::from_u128(3), Private::Sealed(Vec::new()), at(29 * DAY), true);
        assert_eq!(next.signs_from, at(29 * DAY));
        assert_eq!(ROTATION.replaced(keys, next.clone(), true), [next]);
    }

    #[test]
    fn debug_output_has_no_private_key() {
        let key = Key { private: Private::Clear { seed: [7; 32], until: at(0) }, ..due(&[], at(0)).unwrap() };
        let output = format!("{key:?}");
        assert!(!output.contains("private") && !output.contains("7, 7"), "{output}");
    }
}
