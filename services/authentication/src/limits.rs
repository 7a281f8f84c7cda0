//! How often a password may be tried.
//!
//! Two limits, both kept in the store, so that all replicas count together:
//!
//! - each **address** (IPv6: each /64) may try a few times at once and then so many times a minute, whoever it names;
//! - after a failure the next try for the same **account from the same address** has to wait a few seconds. Were the wait
//!   the account's alone, anybody could keep its owner out by failing every few seconds; so one address's failures never
//!   slow another's tries. Somebody who guesses from many addresses meets the first limit at each of them, and a
//!   password of fifteen characters and more.
//!
//! Both count names that nobody has, so that neither tells which ones exist.

use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::email::Email;

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
}

/// Failures of one account from one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failures {
    /// How many since the last success.
    pub count: u32,
    /// The last one.
    pub last_at: Timestamp,
}

impl Failures {
    /// Failures older than this are forgotten.
    pub const KEPT_FOR: Duration = Duration::from_secs(3_600);

    /// How long the next try has to wait, if it has to.
    pub fn wait(&self, now: Timestamp) -> Option<Duration> {
        let delay = SignedDuration::from_secs(match self.count {
            0 => 0,
            1..3 => 1,
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

    #[test]
    fn the_wait_grows_with_the_failures_and_never_past_ten_seconds() {
        for (count, seconds) in [(1, 1), (2, 1), (3, 3), (8, 3), (9, 5), (24, 5), (25, 10), (u32::MAX, 10)] {
            let failures = Failures { count, last_at: at(0) };
            assert_eq!(failures.wait(at(0)), Some(Duration::from_secs(seconds)), "{count}");
            assert_eq!(failures.wait(at(i64::try_from(seconds).unwrap())), None, "{count}");
            assert_eq!(failures.wait(at(-1_000)), Some(Duration::from_secs(seconds)), "a clock set back");
        }
        assert_eq!(Failures { count: 0, last_at: at(0) }.wait(at(0)), None);
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
