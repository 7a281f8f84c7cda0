//! How much each caller may use in a period: bytes of a client address in a day, mails of a user in an hour.
//!
//! A period begins with a caller's first use and ends after its length, when the whole allowance is there again. Memory is bounded,
//! whoever comes: with very many callers at once, those that come later share allowances.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hash};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Callers that have an allowance of their own at the same time.
const CALLERS: usize = 100_000;
/// Allowances that all other callers share.
const SHARED: u64 = 4_096;
/// How often ended periods are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// The allowances of all callers.
#[derive(Debug)]
pub struct Allowance {
    limit: u64,
    period: Duration,
    hasher: RandomState,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    by_slot: HashMap<Slot, Period>,
    forgot_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Slot {
    Own(u64),
    Shared(u64),
}

#[derive(Debug, Clone, Copy)]
struct Period {
    began: Instant,
    used: u64,
}

/// What was taken from an allowance. It stays taken unless it is given back.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    slot: Slot,
    began: Instant,
    amount: u64,
}

impl Allowance {
    /// Each caller may use this much in a period of this length.
    pub fn new(limit: u64, period: Duration) -> Self {
        Self { limit, period, hasher: RandomState::new(), used: Mutex::default() }
    }

    /// What each caller may use in a period.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Takes an amount from a caller's allowance.
    ///
    /// # Errors
    /// How long it takes until the caller's next period, when too little is left in this one.
    pub fn take(&self, caller: &impl Hash, amount: u64, now: Instant) -> Result<Taken, Duration> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        used.forget(self.period, now);
        let slot = used.slot(self.hasher.hash_one(caller));
        let fresh = Period { began: now, used: 0 };
        let current = used.by_slot.get(&slot).copied().filter(|period| !period.is_over(self.period, now));
        let Period { began, used: so_far } = current.unwrap_or(fresh);
        if amount > self.limit.saturating_sub(so_far) {
            return Err((began + self.period).saturating_duration_since(now));
        }
        used.by_slot.insert(slot, Period { began, used: so_far + amount });
        Ok(Taken { slot, began, amount })
    }

    /// Gives back what was not used after all.
    pub fn give_back(&self, taken: Taken) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(period) = used.by_slot.get_mut(&taken.slot)
            && period.began == taken.began
        {
            period.used = period.used.saturating_sub(taken.amount);
        }
    }
}

impl Used {
    fn slot(&self, hash: u64) -> Slot {
        let own = Slot::Own(hash);
        if self.by_slot.len() < CALLERS || self.by_slot.contains_key(&own) {
            return own;
        }
        Slot::Shared(hash % SHARED)
    }

    fn forget(&mut self, length: Duration, now: Instant) {
        if self.forgot_at.is_some_and(|at| now.saturating_duration_since(at) < FORGET_EVERY) {
            return;
        }
        self.forgot_at = Some(now);
        self.by_slot.retain(|_, period| !period.is_over(length, now));
        self.by_slot.shrink_to(2 * self.by_slot.len());
    }
}

impl Period {
    fn is_over(&self, length: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[test]
    fn each_caller_has_the_limit_once_a_period() {
        let (allowance, begun) = (Allowance::new(10, HOUR), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        allowance.take(&"ann", 6, at(0)).unwrap();
        allowance.take(&"ann", 4, at(100)).unwrap();
        assert_eq!(allowance.take(&"ann", 1, at(600)).unwrap_err(), Duration::from_secs(3_000));
        allowance.take(&"bob", 10, at(600)).unwrap();
        allowance.take(&"ann", 10, at(3_600)).unwrap();
        assert_eq!(allowance.take(&"carl", 11, at(0)).unwrap_err(), HOUR, "more than there ever is");
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_in_the_same_period_only() {
        let (allowance, begun) = (Allowance::new(10, HOUR), Instant::now());
        let taken = allowance.take(&"ann", 10, begun).unwrap();
        allowance.give_back(taken);
        allowance.take(&"ann", 10, begun).unwrap();
        allowance.take(&"ann", 10, begun + HOUR).unwrap();
        allowance.give_back(taken);
        assert!(allowance.take(&"ann", 1, begun + HOUR).is_err());
    }

    #[test]
    fn memory_is_bounded_whoever_comes_and_ended_periods_are_forgotten() {
        let (allowance, begun) = (Allowance::new(1, HOUR), Instant::now());
        let held = || allowance.used.lock().unwrap().by_slot.len();
        for caller in 0..CALLERS + 50_000 {
            let _ = allowance.take(&caller, 1, begun);
        }
        assert!((CALLERS..=CALLERS + SHARED as usize).contains(&held()), "{}", held());
        assert!(allowance.take(&0, 1, begun).is_err(), "who came first has an allowance of their own");
        allowance.take(&"late", 1, begun + HOUR).unwrap();
        assert_eq!(held(), 1);
    }
}
