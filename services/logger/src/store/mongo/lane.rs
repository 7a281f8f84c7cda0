//! Work on the driver, each piece on a task of its own.
//!
//! The driver's futures must not be dropped while they run (its documentation says so). A caller that gives up drops only its
//! wait, never such a future. How many tasks exist at once is bounded, so that a store that hangs holds a bounded amount of memory.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use weft_runtime::task;

use super::error;
use crate::store::{Cause, QueryError, StoreError};

/// Searches that may wait for each one that runs.
const WAITING: usize = 4;
/// Upper bound for the time that is kept for the way back to the caller; of a short deadline a tenth is kept.
const WAY_BACK: Duration = Duration::from_millis(50);

/// Runs work on its own task once there is room, and waits so long for it. The task goes on when the wait is over.
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

/// Runs work on its own task. What it holds is given back when the work has ended, not when the wait for it has.
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

/// Room for searches of one kind. A caller runs at most half of them, so that several slow searches of one leave room for others.
#[derive(Debug)]
pub(super) struct Lane {
    entered: Arc<Semaphore>,
    running: Arc<Semaphore>,
    share: usize,
    callers: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// How long a search may take, and whether its caller still waits.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    pub(super) within: Duration,
    pub(super) deadline: Instant,
    pub(super) gone: CancellationToken,
}

impl Lane {
    /// A lane in which so many searches run at once.
    pub(super) fn new(at_once: usize) -> Self {
        Self {
            entered: Arc::new(Semaphore::new(at_once * (1 + WAITING))),
            running: Arc::new(Semaphore::new(at_once)),
            share: at_once.div_ceil(2),
            callers: Mutex::default(),
        }
    }

    /// Runs a search on its own task once there is room. It is refused when too many wait already, and when it has waited for
    /// half of its time: in the other half it could do little.
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
        // Dropped with this future, whether it has ended or its caller has left.
        let _gone = gone.clone().drop_guard();
        let search = search(Limit { within, deadline, gone });
        Ok(join((entered, places), deadline, within, search).await?)
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        let callers = self.callers.lock().unwrap();
        callers.values().all(|share| share.strong_count() == 0)
    }

    /// The caller's own place first: so nobody has more than a share of the queue for the common ones.
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
    /// What the server may use of the time that is left.
    ///
    /// # Errors
    /// When the time is over, or the caller has left.
    pub(super) fn left(&self) -> Result<Duration, StoreError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let usable = left.saturating_sub(WAY_BACK.min(left / 10));
        // The server takes whole milliseconds, and 0 for no limit.
        if usable < Duration::from_millis(1) || self.gone.is_cancelled() {
            return Err(StoreError::TimedOut(self.within));
        }
        Ok(usable)
    }

    /// The driver's error during a search: the server ends it when its time is over.
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

    /// Starts a search that says when it runs and then ends with the permit given.
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
    async fn slow_searches_of_one_caller_leave_room_for_another() {
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
    async fn refuses_a_search_that_finds_no_room_in_half_of_its_time() {
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
    async fn a_search_keeps_its_place_until_it_has_ended_and_knows_that_its_caller_left() {
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
    async fn the_server_gets_the_time_that_is_left_less_the_way_back() {
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
