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

/// Upper bound for the time that an attempt waits for others to be decided, for a caller without a deadline.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(30);
/// What is kept of a caller's deadline for the attempt itself.
const OWN_TIME: Duration = Duration::from_secs(1);
/// Replicas do not tell each other what was decided, so the store is asked again.
const ASK_EVERY: Duration = Duration::from_millis(25);
const LANES: usize = 64;
/// What the caller is told to wait when the others were not decided in time.
const SOON: Duration = Duration::from_secs(1);

/// Attempts that wait for others. Of each address one at a time asks the store, whichever is first; addresses that share a lane by
/// chance share the turn.
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
    /// Begins an attempt at a password, which has to be ended with [`Self::fail`] or [`Self::give_back`]. One that was dropped
    /// stays counted as a failure.
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
                Try::Busy if turn.is_some() => sleep(ASK_EVERY).await,
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
    /// When the failure can't be counted now.
    pub(super) async fn fail(&self, who: &Counted, taken: Taken) -> Result<(), AccountError> {
        Ok(self.store.add_failure(who, taken, self.now()).await?)
    }

    /// Ends an attempt that was no failure. If that can't be stored, it stays counted: what was asked for is done all the same.
    pub(super) async fn give_back(&self, who: &Counted, taken: Taken) {
        let refund = self.rules.sign_in_rate.map_or(Duration::ZERO, |rate| rate.refund(taken, self.now()));
        if let Err(error) = self.store.give_back(who, taken, refund).await {
            tracing::warn!(error = chain(&error), "failed to give back an attempt at a password");
        }
    }
}
