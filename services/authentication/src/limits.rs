//! Limits of failed password attempts.
//!
//! Two limits, both kept in the store, so that all replicas share them:
//!
//! - Each **address** (IPv6: each /64) has a token bucket of failures, whichever accounts it names.
//! - After the second failure for one **account from one address**, the next attempt from there has to wait a few seconds. The wait
//!   is not per account alone: anyone could then lock the owner out by failing every few seconds. Guesses from many addresses are
//!   limited at each address, and have to find a password of 15 or more characters.
//!
//! An attempt counts as a failure when it begins, so that parallel guesses are limited too, and is returned to the allowance when the
//! password is right. While the limit is exceeded only because of undecided attempts, a further attempt waits for them
//! ([`Try::Busy`]), so that right passwords of many users behind one address are never refused. The attempt after a single failure
//! is let through even when the address has no allowance left, which it overdraws: one wrong password never makes the next
//! right one fail, and in the long run the rate holds.
//!
//! A change of password counts wrong current passwords in the same way, by user instead of by address.
//!
//! Both limits count unknown accounts too, so that they do not reveal which accounts exist.

use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::email::Email;
use crate::session::before;

/// The allowance of an address: `burst` failures at once, then one each `every`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub burst: u32,
    pub every: Duration,
}

impl Rate {
    /// GCRA's tolerance: how far ahead of its turn an address may be.
    pub fn tolerance(&self) -> Duration {
        self.every * self.burst.saturating_sub(1)
    }

    /// What an attempt that ends now returns to the allowance: the part that has not been replenished since.
    pub fn refund(&self, taken: Taken, now: Timestamp) -> Duration {
        let left = taken.until.map(|until| Duration::try_from(until.duration_since(now)).unwrap_or_default());
        left.unwrap_or_default().min(self.every)
    }
}

/// The keys that an attempt is counted under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The address, or its substitute.
    pub address: String,
    /// Hash of account and address.
    pub key: [u8; 32],
}

/// What an attempt has consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// When the allowance of the address is replenished, including this attempt; `None` if addresses are not limited.
    pub until: Option<Timestamp>,
    /// Whether the attempt is already counted as a failure of the account.
    pub is_failure: bool,
}

/// The decision about an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Try<T = Taken> {
    /// The password may be checked.
    Taken(T),
    /// Depends on undecided attempts.
    Busy,
    /// Refused; how long to wait.
    Wait(Duration),
}

/// How much of its allowance an address has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// When the allowance is fully replenished (GCRA's theoretical arrival time).
    pub next_at: Timestamp,
    /// Number of undecided attempts.
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

/// Why an attempt is refused; `None` if it may proceed. `used` is `None` if addresses are not limited.
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
    /// Number of failures since the last success.
    pub count: u32,
    /// Time of the last failure.
    pub last_at: Timestamp,
    /// Whether the last failure is an undecided attempt.
    pub pending: bool,
}

impl Failures {
    /// Failures older than this are forgotten.
    pub const KEPT_FOR: Duration = Duration::from_secs(3_600);

    /// How long the next attempt has to wait; `None` if it need not.
    pub fn wait(&self, now: Timestamp) -> Option<Duration> {
        let delay = SignedDuration::from_secs(match self.count {
            0..2 => 0,
            2 => 1,
            3..9 => 3,
            9..25 => 5,
            _ => 10,
        });
        let since = now.duration_since(self.last_at);
        // A clock that was set back must not make the wait longer.
        let left = delay - since.max(SignedDuration::ZERO);
        Duration::try_from(left).ok().filter(|left| !left.is_zero())
    }
}

/// The key of an address; `None` if it is invalid.
pub fn address_key(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some("unknown".to_owned());
    }
    Some(match text.parse::<IpAddr>().ok()?.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        // A subscriber has at least a /64.
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    })
}

/// The key of failures of an account from an address. A hash, so that nothing that a user typed is stored.
pub fn failures_key(email: &Email, address_key: &str) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(email.folded());
    digest.update([0]);
    digest.update(address_key);
    digest.finalize().into()
}

/// The key of another limited resource, as a hash.
pub fn limit_key(kind: &str, what: &str) -> [u8; 32] {
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
    fn the_wait_grows_up_to_ten_seconds() {
        for (count, seconds) in [(2, 1), (3, 3), (8, 3), (9, 5), (24, 5), (25, 10), (u32::MAX, 10)] {
            let failures = failed(count, false);
            assert_eq!(failures.wait(at(0)), Some(Duration::from_secs(seconds)), "{count}");
            assert_eq!(failures.wait(at(i64::try_from(seconds).unwrap())), None, "{count}");
            assert_eq!(failures.wait(at(-1_000)), Some(Duration::from_secs(seconds)), "a clock set back");
        }
        assert_eq!(failed(1, false).wait(at(0)), None, "no wait after the first failure");
    }

    /// Three at once, then one every 20 s.
    const RATE: Rate = Rate { burst: 3, every: Duration::from_secs(20) };

    fn used(attempts: i64, pending: u32) -> Option<(Rate, Used)> {
        Some((RATE, Used { next_at: at(attempts * 20), pending }))
    }

    #[test]
    fn failures_use_up_the_allowance_and_undecided_attempts_delay_others() {
        assert_eq!(refusal(used(2, 0), None, at(0)), None);
        assert_eq!(refusal(used(3, 0), None, at(0)), Some(Try::Wait(Duration::from_secs(20))));
        assert_eq!(refusal(used(3, 1), None, at(0)), Some(Try::Busy));
        assert_eq!(refusal(used(4, 1), None, at(0)), Some(Try::Wait(Duration::from_secs(40))));
        assert_eq!(refusal(used(4, 2), None, at(0)), Some(Try::Busy));
        assert_eq!(refusal(used(3, 0), None, at(20)), None);
        assert_eq!(refusal(None, None, at(0)), None);
    }

    #[test]
    fn allows_the_attempt_after_one_failure_but_not_after_two() {
        assert_eq!(refusal(used(3, 0), Some(failed(1, false)), at(0)), None);
        assert_eq!(
            refusal(used(4, 0), Some(failed(2, false)), at(0)),
            Some(Try::Wait(Duration::from_secs(1)))
        );
        assert_eq!(
            refusal(used(4, 0), Some(failed(2, false)), at(1)),
            Some(Try::Wait(Duration::from_secs(39)))
        );
        // The second attempt is undecided: a third one waits for it.
        assert_eq!(refusal(used(0, 0), Some(failed(2, true)), at(0)), Some(Try::Busy));
    }

    #[test]
    fn an_attempt_returns_no_more_than_it_took() {
        let taken = |until| Taken { until: Some(at(until)), is_failure: false };
        assert_eq!(RATE.refund(taken(60), at(1)), Duration::from_secs(20));
        assert_eq!(RATE.refund(taken(20), at(1)), Duration::from_secs(19));
        assert_eq!(RATE.refund(taken(20), at(21)), Duration::ZERO, "replenished already");
        assert_eq!(RATE.refund(Taken { until: None, is_failure: false }, at(0)), Duration::ZERO);
    }

    #[test]
    fn normalizes_addresses_and_groups_ipv6_by_64() {
        assert_eq!(address_key("10.0.0.1"), address_key("::ffff:10.0.0.1"));
        assert_eq!(address_key("2001:db8::1"), address_key("2001:db8:0:0:ffff::2"));
        assert_ne!(address_key("2001:db8::1"), address_key("2001:db8:0:1::1"));
        assert_eq!(address_key("localhost"), None);
    }

    #[test]
    fn the_failures_key_depends_on_account_and_address() {
        let email = |text| Email::parse(text).unwrap();
        let key = failures_key(&email("a@b.c"), "10.0.0.1");
        assert_eq!(key, failures_key(&email("A@B.c"), "10.0.0.1"));
        assert_ne!(key, failures_key(&email("a@b.c"), "10.0.0.2"));
        assert_ne!(key, failures_key(&email("b@b.c"), "10.0.0.1"));
    }
}
