//! What every pass has at hand.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use kube::Client;
use kube::runtime::reflector::ObjectRef;
use weft_runtime::clock::Clock;
use weft_runtime::status::StoreStatus;

use crate::cache::{Cache, GuardedStack};
use crate::installation::Installation;
use crate::ledger::Ledger;
use crate::metrics::OperatorMetrics;

/// Asks the pod with this address what it knows of its stores; nothing when it does not answer.
pub type AskStores =
    Arc<dyn Fn(String) -> BoxFuture<'static, Option<BTreeMap<String, StoreStatus>>> + Send + Sync>;

/// What every pass has at hand.
pub struct Context {
    pub client: Client,
    pub cache: Cache,
    pub installation: Arc<Installation>,
    pub ledger: Ledger,
    pub retries: Retries,
    pub metrics: OperatorMetrics,
    pub clock: Arc<dyn Clock>,
    /// Makes a new password.
    pub password: Arc<dyn Fn() -> String + Send + Sync>,
    pub ask_stores: AskStores,
}

/// How often each Stack has failed in a row.
#[derive(Debug, Default)]
pub struct Retries(Mutex<HashMap<ObjectRef<GuardedStack>, u32>>);

const FIRST_DELAY: Duration = Duration::from_millis(500);
const LONGEST_DELAY: Duration = Duration::from_secs(60);

impl Retries {
    /// Counts a failure: the delay doubles with each. `jitter`, from 0 to 1, takes up to a quarter away.
    pub fn failed(&self, stack: ObjectRef<GuardedStack>, jitter: f64) -> Duration {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = counts.entry(stack).or_default();
        let delay = FIRST_DELAY.saturating_mul(1 << (*failures).min(10)).min(LONGEST_DELAY);
        *failures = failures.saturating_add(1);
        delay.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 4.0)
    }

    /// Forgets every failure.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The next failure is the first again.
    pub fn forget(&self, stack: &ObjectRef<GuardedStack>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(stack);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_grows_to_a_bound_and_success_resets_it() {
        let (retries, stack) = (Retries::default(), ObjectRef::new("shop").within("shop"));
        let delays: Vec<_> = (0..12).map(|_| retries.failed(stack.clone(), 0.0).as_millis()).collect();
        assert_eq!(delays[..8], [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000]);
        assert!(delays[8..].iter().all(|delay| *delay == 60_000));
        retries.forget(&stack);
        assert_eq!(retries.failed(stack, 1.0), Duration::from_millis(375));
    }
}
