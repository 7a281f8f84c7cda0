use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout_at};
use weft_mesh::Deadline;
use weft_runtime::clock::Clock;
use weft_runtime::task::finish;
use weft_runtime::telemetry::chain;

use super::{AccountError, Accounts};
use crate::limits::{Counted, Rate, Taken, Try};
use crate::store::{PostgresStore, StoreError};

/// Longest wait of an attempt for undecided ones.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(30);
/// Part of the caller's deadline that is reserved for the attempt itself.
const OWN_TIME: Duration = Duration::from_secs(1);
/// First and longest pause between two polls. Replicas share the outcome of attempts only through the store.
const POLL_AFTER: Duration = Duration::from_millis(25);
const MAX_PAUSE: Duration = Duration::from_millis(200);
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

/// A password attempt. It counts as a failure until it is given back.
///
/// If it is dropped, it ends, because attempts after it would wait for it. It stays counted for its address, but not as a failure of the
/// account: nobody was told whether the password was right.
#[must_use]
pub(super) struct Attempt {
    store: Arc<PostgresStore>,
    clock: Arc<dyn Clock>,
    rate: Option<Rate>,
    who: Counted,
    /// `None` after the end.
    taken: Option<Taken>,
}

impl Accounts {
    /// Begins a password attempt.
    ///
    /// # Errors
    /// [`AccountError::TooOften`] when there were too many failures, or the attempts before it are not decided in time.
    pub(super) async fn begin_attempt(&self, who: &Counted) -> Result<Attempt, AccountError> {
        let left = Deadline::current().map(|deadline| deadline.left().saturating_sub(OWN_TIME));
        let until = Instant::now() + left.map_or(WAIT_FOR_OTHERS, |left| left.min(WAIT_FOR_OTHERS));
        let (mut turn, mut pause) = (None, POLL_AFTER);
        loop {
            // Runs to its end, so that an attempt whose caller is gone is dropped there.
            match finish(take_try(
                self.store.clone(),
                self.clock.clone(),
                self.rules.sign_in_rate,
                who.clone(),
            ))
            .await?
            {
                Try::Taken(attempt) => return Ok(attempt),
                Try::Wait(wait) => return Err(AccountError::TooOften(wait)),
                Try::Busy if Instant::now() >= until => return Err(AccountError::TooOften(SOON)),
                Try::Busy if turn.is_some() => {
                    sleep(pause).await;
                    pause = MAX_PAUSE.min(pause * 2);
                }
                Try::Busy => match timeout_at(until, self.turns.of(&who.address).lock()).await {
                    Ok(lane) => turn = Some(lane),
                    Err(_) => return Err(AccountError::TooOften(SOON)),
                },
            }
        }
    }
}

async fn take_try(
    store: Arc<PostgresStore>,
    clock: Arc<dyn Clock>,
    rate: Option<Rate>,
    who: Counted,
) -> Result<Try<Attempt>, StoreError> {
    Ok(match store.take_try(&who, rate, clock.now()).await? {
        Try::Taken(taken) => Try::Taken(Attempt { store, clock, rate, who, taken: Some(taken) }),
        Try::Busy => Try::Busy,
        Try::Wait(wait) => Try::Wait(wait),
    })
}

impl Attempt {
    /// Ends an attempt whose password was wrong.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub(super) async fn fail(mut self) -> Result<(), AccountError> {
        let Some(taken) = self.taken.take() else { return Ok(()) };
        finish(async move { Ok(self.store.add_failure(&self.who, taken, self.clock.now()).await?) }).await
    }

    /// Ends an attempt that did not fail. If the store is unavailable, the attempt stays counted; the operation succeeds anyway.
    pub(super) async fn give_back(mut self) {
        let refund = |rate: Rate, taken| rate.refund(taken, self.clock.now());
        let refund = self.rate.zip(self.taken).map_or(Duration::ZERO, |(rate, taken)| refund(rate, taken));
        if let Some(ended) = self.end(refund) {
            finish(ended).await;
        }
    }

    fn end(&mut self, refund: Duration) -> Option<impl Future<Output = ()> + use<>> {
        let (taken, store, who) = (self.taken.take()?, self.store.clone(), self.who.clone());
        Some(async move {
            if let Err(error) = store.give_back(&who, taken, refund).await {
                tracing::warn!(error = chain(&error), "failed to end a password attempt");
            }
        })
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let (Some(ended), Ok(runtime)) = (self.end(Duration::ZERO), Handle::try_current()) {
            runtime.spawn(ended);
        }
    }
}
