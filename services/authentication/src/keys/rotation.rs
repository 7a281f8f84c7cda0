//! When keys change.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::{Key, Private};
use crate::session::{after, before};

/// Longest time that a key is published before it signs.
const LONGEST_LEAD: Duration = Duration::from_secs(86_400);
/// Clocks of those who check tokens may be this wrong.
const SKEW: Duration = Duration::from_secs(60);
/// How long a replica may sign with a key that another one has revoked.
const LONGEST_TICK: Duration = Duration::from_secs(5);

/// When keys change.
#[derive(Debug, Clone, Copy)]
pub struct Rotation {
    /// How long a key signs.
    pub life: Duration,
    /// How long a token that it signed lives.
    pub token_life: Duration,
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

    /// A key that is made now and begins to sign then.
    pub(super) fn key(&self, id: Uuid, private: Private, now: Timestamp, signs_from: Timestamp) -> Key {
        let signs_until = after(signs_from, self.life);
        let published_until = self.published_until(signs_until);
        Key { id, private, created_at: now, signs_from, signs_until, published_until }
    }

    /// The key that an admin asks for: it signs at once when the others are revoked, and otherwise when every replica has looked.
    pub(super) fn next(&self, id: Uuid, private: Private, now: Timestamp, revoke: bool) -> Key {
        let signs_from = if revoke { now } else { after(now, self.tick() * 2) };
        self.key(id, private, now, signs_from)
    }

    /// The keys once this one takes the place of the others. Those that have not signed yet are dropped; the others are published until
    /// their last token has ended, or dropped too.
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
    fn a_replaced_key_is_published_until_its_last_token_ends_and_a_revoked_one_is_dropped() {
        let keys = vec![key(1, at(0), at(0)), key(2, at(29 * DAY), at(30 * DAY))];
        let next = ROTATION.next(Uuid::from_u128(3), Private::Sealed(Vec::new()), at(29 * DAY), false);
        assert_eq!(next.signs_from, at(29 * DAY + 10), "every replica has looked by then");
        let replaced = ROTATION.replaced(keys.clone(), next.clone(), false);
        let ids: Vec<_> = replaced.iter().map(|key| key.id.as_u128()).collect();
        assert_eq!(ids, [1, 3], "the key that has not signed yet is dropped");
        assert_eq!(replaced[0].signs_until, next.signs_from);
        assert_eq!(replaced[0].published_until, at(29 * DAY + 10 + 360));

        let next = ROTATION.next(Uuid::from_u128(3), Private::Sealed(Vec::new()), at(29 * DAY), true);
        assert_eq!(next.signs_from, at(29 * DAY));
        assert_eq!(ROTATION.replaced(keys, next.clone(), true), [next]);
    }

    #[test]
    fn a_private_key_is_never_shown() {
        let key = Key { private: Private::Clear([7; 32]), ..due(&[], at(0)).unwrap() };
        let shown = format!("{key:?}");
        assert!(!shown.contains("private") && !shown.contains("7, 7"), "{shown}");
    }
}
