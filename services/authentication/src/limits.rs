//! How often a wrong password may be tried.
//!
//! Two limits, both kept in the store, so that all replicas count together:
//!
//! - each **address** (IPv6: each /64) may fail a few times at once and then so many times a minute, whichever accounts it names;
//! - after the second failure for one **account from one address** the next attempt there has to wait a few seconds. Were the
//!   wait the account's alone, anybody could keep its owner out by failing every few seconds; so one address's failures never
//!   slow another's attempts. Guesses from many addresses meet the first limit at each of them, and a password of fifteen
//!   characters and more.
//!
//! An attempt counts as a failure from its beginning, so that guesses in parallel are bounded like others, and is given back
//! when the password is right. While the limit is used up only by attempts that are not decided yet, another one waits for
//! them ([`Try::Busy`]): right passwords of many people behind one address are never refused. The second attempt after
//! a single failure is let through even when the address has used up its allowance, which it then overdraws: one wrong
//! password never makes the next right one fail, and in the long run the rate holds.
//!
//! A change of password counts the wrong current passwords of its user in the same way, in place of those of an address.
//!
//! Both count names that nobody has, so that neither tells which ones exist.

use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::email::Email;
use crate::session::before;

/// An address's allowance: so many at once, and then one each `every`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At once.
    pub burst: u32,
    /// After that.
    pub every: Duration,
}

impl Rate {
    /// How far ahead of its turn an address may be (GCRA's tolerance).
    pub fn tolerance(&self) -> Duration {
        self.every * self.burst.saturating_sub(1)
    }

    /// What an attempt that ends now gives back: its share of the allowance, unless time has given that back already.
    pub fn refund(&self, taken: Taken, now: Timestamp) -> Duration {
        let left = taken.until.map(|until| Duration::try_from(until.duration_since(now)).unwrap_or_default());
        left.unwrap_or_default().min(self.every)
    }
}

/// What attempts are counted under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The address, or what stands in its place.
    pub address: String,
    /// Account and address together.
    pub key: [u8; 32],
}

/// What an attempt has taken from the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// When the address will have its allowance back, this attempt included; `None` without a limit for addresses.
    pub until: Option<Timestamp>,
    /// Whether the attempt is counted among the account's failures already.
    pub is_failure: bool,
}

/// Whether a password may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Try {
    /// It may.
    Taken(Taken),
    /// That depends on attempts that are not decided yet.
    Busy,
    /// Not before this has passed.
    Wait(Duration),
}

/// What an address has used of its allowance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// When it would have the whole allowance back (GCRA's theoretical arrival time).
    pub next_at: Timestamp,
    /// How many of its attempts are not decided yet.
    pub pending: u32,
}

impl Used {
    fn wait(&self, rate: Rate, now: Timestamp) -> Option<Duration> {
        let turn = before(self.next_at, rate.tolerance());
        Duration::try_from(turn.duration_since(now)).ok().filter(|wait| !wait.is_zero())
    }

    fn without_pending(&self, rate: Rate) -> Self {
        Self { next_at: before(self.next_at, rate.every.saturating_mul(self.pending)), pending: 0 }
    }
}

/// Why an attempt is not let through now; `None` when it is. `used` is what its address has used of its allowance, if that is limited.
pub fn refusal(used: Option<(Rate, Used)>, failures: Option<Failures>, now: Timestamp) -> Option<Try> {
    if let Some(failures) = failures
        && let Some(wait) = failures.wait(now)
    {
        return Some(if failures.pending { Try::Busy } else { Try::Wait(wait) });
    }
    if failures.is_some_and(|failures| failures.count == 1) {
        return None;
    }
    let (rate, used) = used?;
    let wait = used.wait(rate, now)?;
    let is_busy = used.without_pending(rate).wait(rate, now).is_none();
    Some(if is_busy { Try::Busy } else { Try::Wait(wait) })
}

/// Failures of one account from one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failures {
    /// How many since the last success.
    pub count: u32,
    /// The last one.
    pub last_at: Timestamp,
    /// Whether the last one is an attempt that is not decided yet.
    pub pending: bool,
}

impl Failures {
    /// Failures older than this are forgotten.
    pub const KEPT_FOR: Duration = Duration::from_secs(3_600);

    /// How long the next attempt has to wait, if it has to.
    pub fn wait(&self, now: Timestamp) -> Option<Duration> {
        let delay = SignedDuration::from_secs(match self.count {
            0..2 => 0,
            2 => 1,
            3..9 => 3,
            9..25 => 5,
            _ => 10,
        });
        let since = now.duration_since(self.last_at);
        // A clock that was set back must not lengthen the wait.
        let left = delay - since.max(SignedDuration::ZERO);
        Duration::try_from(left).ok().filter(|left| !left.is_zero())
    }
}

/// What an address counts as. `None` is no address.
pub fn address_key(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some("unknown".to_owned());
    }
    Some(match text.parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        // One person has a /64 at least.
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    })
}

/// What failures of an account from an address are kept under: no name that was typed is kept.
pub fn failures_key(email: &Email, address_key: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(email.folded());
    digest.update([0]);
    digest.update(address_key);
    digest.finalize().into()
}

/// What something that is limited is kept under.
pub fn counted_as(kind: &str, what: &str) -> [u8; 32] {
    Sha256::digest(format!("{kind}\0{what}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_764_000_000 + seconds).unwrap()
    }

    fn failed(count: u32, pending: bool) -> Failures {
        Failures { count, last_at: at(0), pending }
    }

    #[test]
    fn the_wait_grows_with_the_failures_and_never_past_ten_seconds() {
        for (count, seconds) in [(2, 1), (3, 3), (8, 3), (9, 5), (24, 5), (25, 10), (u32::MAX, 10)] {
            let failures = failed(count, false);
            assert_eq!(failures.wait(at(0)), Some(Duration::from_secs(seconds)), "{count}");
            assert_eq!(failures.wait(at(i64::try_from(seconds).unwrap())), None, "{count}");
            assert_eq!(failures.wait(at(-1_000)), Some(Duration::from_secs(seconds)), "a clock set back");
        }
        assert_eq!(failed(1, false).wait(at(0)), None, "the first failure makes nobody wait");
    }

    /// Three at once, then one every 20 s.
    const RATE: Rate = Rate { burst: 3, every: Duration::from_secs(20) };

    fn used(attempts: i64, pending: u32) -> Option<(Rate, Used)> {
        Some((RATE, Used { next_at: at(attempts * 20), pending }))
    }

    #[test]
    fn failures_use_up_the_allowance_and_undecided_attempts_make_others_wait_for_them() {
        assert_eq!(refusal(used(2, 0), None, at(0)), None);
        assert_eq!(refusal(used(3, 0), None, at(0)), Some(Try::Wait(Duration::from_secs(20))));
        assert_eq!(refusal(used(3, 1), None, at(0)), Some(Try::Busy));
        assert_eq!(refusal(used(4, 1), None, at(0)), Some(Try::Wait(Duration::from_secs(40))));
        assert_eq!(refusal(used(4, 2), None, at(0)), Some(Try::Busy));
        assert_eq!(refusal(used(3, 0), None, at(20)), None);
        assert_eq!(refusal(None, None, at(0)), None);
    }

    #[test]
    fn the_attempt_after_one_failure_is_let_through_and_the_one_after_two_is_not() {
        assert_eq!(refusal(used(3, 0), Some(failed(1, false)), at(0)), None);
        assert_eq!(
            refusal(used(4, 0), Some(failed(2, false)), at(0)),
            Some(Try::Wait(Duration::from_secs(1)))
        );
        assert_eq!(
            refusal(used(4, 0), Some(failed(2, false)), at(1)),
            Some(Try::Wait(Duration::from_secs(39)))
        );
        // The second attempt is not decided yet: a third one waits for it.
        assert_eq!(refusal(used(0, 0), Some(failed(2, true)), at(0)), Some(Try::Busy));
    }

    #[test]
    fn an_attempt_gives_back_what_it_took_and_never_what_another_took() {
        let taken = |until| Taken { until: Some(at(until)), is_failure: false };
        assert_eq!(RATE.refund(taken(60), at(1)), Duration::from_secs(20));
        assert_eq!(RATE.refund(taken(20), at(1)), Duration::from_secs(19));
        assert_eq!(RATE.refund(taken(20), at(21)), Duration::ZERO, "time has given it back");
        assert_eq!(RATE.refund(Taken { until: None, is_failure: false }, at(0)), Duration::ZERO);
    }

    #[test]
    fn an_address_is_one_however_it_is_written_and_a_network_of_ipv6_is_one() {
        assert_eq!(address_key("10.0.0.1"), address_key("::ffff:10.0.0.1"));
        assert_eq!(address_key("2001:db8::1"), address_key("2001:db8:0:0:ffff::2"));
        assert_ne!(address_key("2001:db8::1"), address_key("2001:db8:0:1::1"));
        assert_eq!(address_key("localhost"), None);
    }

    #[test]
    fn failures_are_kept_for_account_and_address_together() {
        let email = |text| Email::parse(text).unwrap();
        let key = failures_key(&email("a@b.c"), "10.0.0.1");
        assert_eq!(key, failures_key(&email("A@B.c"), "10.0.0.1"));
        assert_ne!(key, failures_key(&email("a@b.c"), "10.0.0.2"));
        assert_ne!(key, failures_key(&email("b@b.c"), "10.0.0.1"));
    }
}
