//! Writes that arrive together share an insert, so that the store's round trip and its flush to disk are shared.
//!
//! One task gathers what waits into a group and hands it to the store; meanwhile the next group gathers by itself.
//! A call alone never waits for company. Under load a group waits a moment, so that callers who were just answered and
//! write again share it with those who came meanwhile: else two half groups take turns, at the price of two inserts.
//! Entries of one call stay together, and calls keep their order. What may wait is bounded by memory: past it a write
//! is refused at once.

mod commit;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;
use tracing::Span;

use crate::config::GroupConfig;
use crate::entry::Entry;
use crate::metrics::Metrics;
use crate::store::{LogStore, StoreError};
use crate::trace::DatabaseSpans;

/// Calls in a group from which on there is load.
const LOAD: usize = 16;
/// How often a waiting group looks whether it may go: the timer's own step.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Why a write was not done, or is not known to be done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// Too much waits for the store already. Nothing of this write was stored.
    #[error("too many writes wait for the store")]
    Full,
    /// The process ends. Nothing of this write was stored.
    #[error("the logger is ending")]
    Ending,
    /// The store did not confirm it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is new, and stored.
    Created,
    /// It was stored before, with the same content.
    Repeated,
    /// Its id is stored with other content, which stays.
    Conflict,
}

/// Hands writes to the group. Cheap to clone; when the last clone is dropped, what waits is still written.
#[derive(Debug, Clone)]
pub struct Writer {
    queue: mpsc::UnboundedSender<Waiting>,
    room: Arc<Semaphore>,
    within: Duration,
    metrics: Metrics,
}

/// One call's entries on their way.
#[derive(Debug)]
struct Waiting {
    entries: Vec<Entry>,
    span: Span,
    joined: Vec<Span>,
    answer: oneshot::Sender<Result<Vec<Written>, StoreError>>,
    _room: OwnedSemaphorePermit,
}

impl Writer {
    /// Starts the task that groups. It ends when every clone of the writer is dropped and all is written.
    pub fn start(
        store: Arc<dyn LogStore>,
        spans: DatabaseSpans,
        metrics: &Metrics,
        config: GroupConfig,
        within: Duration,
    ) -> (Self, JoinHandle<()>) {
        let (queue, waiting) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(config.queue_bytes as usize));
        let gatherer = Gatherer { store, spans, metrics: metrics.clone(), config };
        let task = tokio::spawn(gatherer.run(waiting));
        (Self { queue, room, within, metrics: metrics.clone() }, task)
    }

    /// Stores a call's entries. For each, in order, what became of it.
    ///
    /// # Errors
    /// [`WriteError::Full`] and [`WriteError::Ending`] wrote nothing; after any other some entries may be stored, and a
    /// repeat is safe.
    ///
    /// # Cancellation
    /// A dropped call's entries are stored, unless their group was not begun yet.
    pub async fn write(&self, entries: Vec<Entry>) -> Result<Vec<Written>, WriteError> {
        self.write_joined(entries, Vec::new()).await
    }

    /// The same for a call that has others inside it: below each of their spans there is a database span, too.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn write_joined(
        &self,
        entries: Vec<Entry>,
        joined: Vec<Span>,
    ) -> Result<Vec<Written>, WriteError> {
        let count = entries.len();
        let outcome = self.submit(entries, joined).await;
        self.metrics.written(count, &outcome);
        outcome
    }

    async fn submit(&self, entries: Vec<Entry>, joined: Vec<Span>) -> Result<Vec<Written>, WriteError> {
        let bytes: usize = entries.iter().map(Entry::weight_bytes).sum();
        let bytes = u32::try_from(bytes).map_err(|_| WriteError::Full)?;
        let room = Arc::clone(&self.room).try_acquire_many_owned(bytes).map_err(|_| WriteError::Full)?;
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { entries, span: Span::current(), joined, answer, _room: room };
        self.queue.send(waiting).map_err(|_| WriteError::Ending)?;
        self.metrics.taken();
        match tokio::time::timeout(self.within, answered).await {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(_)) => Err(WriteError::Ending),
            Err(_) => Err(StoreError::TimedOut(self.within).into()),
        }
    }
}

struct Gatherer {
    store: Arc<dyn LogStore>,
    spans: DatabaseSpans,
    metrics: Metrics,
    config: GroupConfig,
}

impl Gatherer {
    async fn run(self, mut queue: mpsc::UnboundedReceiver<Waiting>) {
        let slots = Arc::new(Semaphore::new(self.config.in_flight));
        let commits = TaskTracker::new();
        let mut next = None;
        let mut last_calls = 0;
        while let Some(first) = match next.take() {
            Some(waiting) => Some(waiting),
            None => queue.recv().await,
        } {
            // While this waits, the queue fills: that is what makes groups.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { break };
            self.linger(&queue, last_calls).await;
            let group = self.gather(first, &mut queue, &mut next);
            last_calls = group.len();
            self.metrics.waiting(queue.len());
            if group.is_empty() {
                continue;
            }
            let commit =
                commit::run(Arc::clone(&self.store), self.spans.clone(), self.metrics.clone(), group);
            commits.spawn(async move {
                commit.await;
                drop(slot);
            });
        }
        commits.close();
        commits.wait().await;
    }

    /// Under load, waits until most of the last group's callers are back beside those who wait already.
    async fn linger(&self, queue: &mpsc::UnboundedReceiver<Waiting>, last_calls: usize) {
        if last_calls < LOAD {
            return;
        }
        let until = Instant::now() + self.config.linger;
        let enough = queue.len() + last_calls * 3 / 4;
        while queue.len() < enough && queue.len() < self.config.max_entries && Instant::now() < until {
            sleep(LOOK_EVERY).await;
        }
    }

    /// What waits now, up to a group's size. Leaves out calls whose caller has gone: nobody was told that they are stored.
    fn gather(
        &self,
        first: Waiting,
        queue: &mut mpsc::UnboundedReceiver<Waiting>,
        next: &mut Option<Waiting>,
    ) -> Vec<Waiting> {
        let mut group = Vec::new();
        let mut entries = 0;
        let mut candidate = Some(first);
        while let Some(waiting) = candidate {
            if !waiting.answer.is_closed() {
                if entries > 0 && entries + waiting.entries.len() > self.config.max_entries {
                    *next = Some(waiting);
                    break;
                }
                entries += waiting.entries.len();
                group.push(waiting);
            }
            candidate = queue.try_recv().ok();
        }
        group
    }
}

#[cfg(test)]
mod tests;
