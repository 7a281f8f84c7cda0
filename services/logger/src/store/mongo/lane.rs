//! Runs each operation of the driver in its own task, with bounded concurrency.
//!
//! The driver's documentation says that its futures must not be dropped while they run. A caller that gives up only stops waiting
//! for the task. The number of tasks is bounded, so that a hung store occupies a bounded amount of memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use weft_runtime::task;

use super::error;
use crate::store::{Cause, QueryError, StoreError};

/// Maximum number of waiting searches for each running one.
const WAITING: usize = 4;
/// Time reserved for the reply to the caller: at most this, and at most a tenth of the remaining time.
const REPLY_TIME: Duration = Duration::from_millis(50);

/// Runs `work` in its own task when there is room. Waits for at most `within`; after that the task continues.
pub(super) async fn detached<T: Send + 'static>(
    room: &Arc<Semaphore>,
    within: Duration,
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    let deadline = Instant::now() + within;
    let place = timeout_at(deadline, Arc::clone(room).acquire_owned()).await;
    let place = place.map_err(|_| StoreError::TimedOut(within))?;
    let place = place.map_err(|error| StoreError::Failed(Cause::new(error)))?;
    join(place, deadline, within, work).await
}

/// Runs `work` in its own task. `held` is released when the work ends, not when the wait ends.
async fn join<T: Send + 'static>(
    held: impl Send + 'static,
    deadline: Instant,
    within: Duration,
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    let task = task::finish(async move {
        let outcome = work.await;
        drop(held);
        outcome
    });
    timeout_at(deadline, task).await.map_err(|_| StoreError::TimedOut(within))?
}

/// Bounds the searches of one kind. One caller may run at most half of them, so that its slow searches leave room for others.
#[derive(Debug)]
pub(super) struct Lane {
    entered: Arc<Semaphore>,
    running: Arc<Semaphore>,
    share: usize,
    callers: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// Deadline of a search, and whether its caller still waits.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    pub(super) within: Duration,
    pub(super) deadline: Instant,
    pub(super) gone: CancellationToken,
}

impl Lane {
    /// A lane with `at_once` concurrent searches.
    pub(super) fn new(at_once: usize) -> Self {
        Self {
            entered: Arc::new(Semaphore::new(at_once * (1 + WAITING))),
            running: Arc::new(Semaphore::new(at_once)),
            share: at_once.div_ceil(2),
            callers: Mutex::default(),
        }
    }

    /// Runs a search in its own task when there is room. Refuses it when too many are waiting, or when it has waited for half of its
    /// time, because the rest would hardly be enough.
    pub(super) async fn run<T, F>(
        &self,
        caller: &str,
        deadline: Instant,
        search: impl FnOnce(Limit) -> F,
    ) -> Result<T, QueryError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let now = Instant::now();
        let within = deadline.saturating_duration_since(now);
        let entered = Arc::clone(&self.entered).try_acquire_owned().map_err(|_| QueryError::Busy)?;
        let places = timeout_at(now + within / 2, self.places(caller)).await;
        let places = places.map_err(|_| QueryError::Busy)?.ok_or(QueryError::Busy)?;
        let gone = CancellationToken::new();
        // Dropped with this future: when the search has ended or the caller has gone.
        let _gone = gone.clone().drop_guard();
        let search = search(Limit { within, deadline, gone });
        Ok(join((entered, places), deadline, within, search).await?)
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        let callers = self.callers.lock().unwrap();
        callers.values().all(|share| share.strong_count() == 0)
    }

    /// Acquires the caller's own permit first, so that no caller occupies more than its share of the common queue.
    async fn places(&self, caller: &str) -> Option<[OwnedSemaphorePermit; 2]> {
        let own = self.share_of(caller).acquire_owned().await.ok()?;
        let common = Arc::clone(&self.running).acquire_owned().await.ok()?;
        Some([own, common])
    }

    fn share_of(&self, caller: &str) -> Arc<Semaphore> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = callers.get(caller).and_then(Weak::upgrade) {
            return share;
        }
        callers.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(self.share));
        callers.insert(caller.to_owned(), Arc::downgrade(&share));
        share
    }
}

impl Limit {
    /// The part of the remaining time that the server may use.
    ///
    /// # Errors
    /// When the deadline has passed or the caller has gone.
    pub(super) fn left(&self) -> Result<Duration, StoreError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let usable = left.saturating_sub(REPLY_TIME.min(left / 10));
        // `maxTimeMS` has whole milliseconds, and 0 means no limit.
        if usable < Duration::from_millis(1) || self.gone.is_cancelled() {
            return Err(StoreError::TimedOut(self.within));
        }
        Ok(usable)
    }

    /// Maps the driver's error during a search, which the server ends at `maxTimeMS`.
    pub(super) fn classify(&self, error: mongodb::error::Error) -> StoreError {
        match error::code(&error) {
            Some(error::MAX_TIME_EXPIRED) => StoreError::TimedOut(self.within),
            _ => error::classify(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    /// Starts a search that sends its limit when it runs, and ends when the gate has a permit.
    fn start(
        lane: &Arc<Lane>,
        caller: &'static str,
        within: Duration,
        gate: &Arc<Semaphore>,
    ) -> (tokio::task::JoinHandle<Result<(), QueryError>>, mpsc::UnboundedReceiver<Limit>) {
        let (runs, running) = mpsc::unbounded_channel();
        let (lane, gate) = (Arc::clone(lane), Arc::clone(gate));
        let task = tokio::spawn(async move {
            lane.run(caller, Instant::now() + within, move |limit| async move {
                let _ = runs.send(limit);
                gate.acquire().await.unwrap().forget();
                Ok(())
            })
            .await
        });
        (task, running)
    }

    #[tokio::test(start_paused = true)]
    async fn slow_searches_of_one_caller_leave_room_for_others() {
        let (lane, gate) = (Arc::new(Lane::new(4)), Arc::new(Semaphore::new(0)));
        let mut slow: Vec<_> = (0..4).map(|_| start(&lane, "one", LONG, &gate)).collect();
        for (_, running) in &mut slow[..2] {
            running.recv().await.unwrap();
        }
        let open = Arc::new(Semaphore::new(1));
        start(&lane, "two", LONG, &open).0.await.unwrap().unwrap();
        assert!(slow[2].1.try_recv().is_err(), "a third search of one caller runs");
        gate.add_permits(4);
        for (task, _) in slow {
            task.await.unwrap().unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn refuses_a_search_that_waited_half_of_its_time() {
        let (lane, gate) = (Arc::new(Lane::new(1)), Arc::new(Semaphore::new(0)));
        let (_first, mut running) = start(&lane, "one", LONG, &gate);
        running.recv().await.unwrap();
        let begun = Instant::now();
        let refused = start(&lane, "two", Duration::from_secs(2), &gate).0.await.unwrap();
        assert!(matches!(refused, Err(QueryError::Busy)), "{refused:?}");
        assert_eq!(begun.elapsed().as_secs(), 1);
        let waiting: Vec<_> = (0..WAITING).map(|_| start(&lane, "two", LONG, &gate)).collect();
        tokio::task::yield_now().await;
        let begun = Instant::now();
        let refused = start(&lane, "three", LONG, &gate).0.await.unwrap();
        assert!(matches!(refused, Err(QueryError::Busy)), "{refused:?}");
        assert!(begun.elapsed().is_zero());
        drop(waiting);
    }

    #[tokio::test(start_paused = true)]
    async fn a_search_without_its_caller_keeps_its_permits_until_it_ends() {
        let (lane, gate) = (Arc::new(Lane::new(1)), Arc::new(Semaphore::new(0)));
        let (first, mut running) = start(&lane, "one", LONG, &gate);
        let limit = running.recv().await.unwrap();
        assert!(limit.left().is_ok());
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        assert!(limit.left().is_err());
        assert_eq!(lane.running.available_permits(), 0);
        gate.add_permits(2);
        start(&lane, "one", LONG, &gate).0.await.unwrap().unwrap();
        assert_eq!(lane.entered.available_permits(), 1 + WAITING);
    }

    #[tokio::test(start_paused = true)]
    async fn reserves_time_for_the_reply() {
        let left = |within| {
            Limit { within, deadline: Instant::now() + within, gone: CancellationToken::new() }.left().ok()
        };
        assert_eq!(left(Duration::from_secs(2)), Some(Duration::from_millis(1_950)));
        assert_eq!(left(Duration::from_millis(100)), Some(Duration::from_millis(90)));
        assert_eq!(left(Duration::from_micros(900)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn forgets_callers_without_searches() {
        let (lane, gate) = (Arc::new(Lane::new(1)), Arc::new(Semaphore::new(100)));
        for caller in ["a", "b", "c", "d"] {
            start(&lane, caller, LONG, &gate).0.await.unwrap().unwrap();
        }
        assert_eq!(lane.callers.lock().unwrap().len(), 1);
    }
}
