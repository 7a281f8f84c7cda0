use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};
use weft_mesh::Deadline;
use weft_runtime::telemetry::chain;

use super::{AccountError, Accounts};
use crate::limits::{Counted, Taken, Try};

/// Longest wait of an attempt for undecided ones.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(30);
/// Part of the caller's deadline that is reserved for the attempt itself.
const OWN_TIME: Duration = Duration::from_secs(1);
/// Poll interval. Replicas share the outcome of attempts only through the store.
const POLL_EVERY: Duration = Duration::from_millis(25);
const LANES: usize = 64;
/// Retry delay for a caller whose attempt waited in vain.
const SOON: Duration = Duration::from_secs(1);

/// Serializes the waiting attempts of each address, so that only one of them polls the store. Addresses are hashed to a fixed number
/// of lanes; addresses in the same lane share it.
#[derive(Debug, Clone)]
pub struct Turns {
    lanes: Arc<[Mutex<()>; LANES]>,
    hasher: RandomState,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            lanes: std::array::from_fn::<_, LANES, _>(|_| Mutex::new(())).into(),
            hasher: RandomState::new(),
        }
    }
}

impl Turns {
    fn of(&self, address: &str) -> &Mutex<()> {
        let hash = self.hasher.hash_one(address);
        &self.lanes[usize::from(hash.to_le_bytes()[0]) % LANES]
    }
}

impl Accounts {
    /// Begins a password attempt, to be ended with [`Self::fail`] or [`Self::give_back`]. A dropped attempt stays counted as a
    /// failure.
    ///
    /// # Errors
    /// [`AccountError::TooOften`] when there were too many failures, or the attempts before it are not decided in time.
    pub(super) async fn begin_attempt(&self, who: &Counted) -> Result<Taken, AccountError> {
        let left = Deadline::current().map(|deadline| deadline.left().saturating_sub(OWN_TIME));
        let until = Instant::now() + left.map_or(WAIT_FOR_OTHERS, |left| left.min(WAIT_FOR_OTHERS));
        let mut turn = None;
        loop {
            match self.store.take_try(who, self.rules.sign_in_rate, self.now()).await? {
                Try::Taken(taken) => return Ok(taken),
                Try::Wait(wait) => return Err(AccountError::TooOften(wait)),
                Try::Busy if Instant::now() >= until => return Err(AccountError::TooOften(SOON)),
                Try::Busy if turn.is_some() => sleep(POLL_EVERY).await,
                Try::Busy => match timeout_at(until, self.turns.of(&who.address).lock()).await {
                    Ok(lane) => turn = Some(lane),
                    Err(_) => return Err(AccountError::TooOften(SOON)),
                },
            }
        }
    }

    /// Ends an attempt whose password was wrong.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub(super) async fn fail(&self, who: &Counted, taken: Taken) -> Result<(), AccountError> {
        Ok(self.store.add_failure(who, taken, self.now()).await?)
    }

    /// Ends an attempt that did not fail. If the store is unavailable, the attempt stays counted; the operation succeeds anyway.
    pub(super) async fn give_back(&self, who: &Counted, taken: Taken) {
        let refund = self.rules.sign_in_rate.map_or(Duration::ZERO, |rate| rate.refund(taken, self.now()));
        if let Err(error) = self.store.give_back(who, taken, refund).await {
            tracing::warn!(error = chain(&error), "failed to return a password attempt to its limit");
        }
    }
}
