//! Group commit: concurrent writes share an insert, and so the store's round trip and flush to disk.
//!
//! One task collects the waiting calls into a group and inserts it; meanwhile the next group accumulates. A single call never
//! waits for others. Under load a group waits for at most `LOG_LINGER`, so that callers who were just answered and write again
//! join those who arrived meanwhile. Otherwise two half groups would alternate, at the cost of two inserts. The entries of one
//! call are not split, and calls keep their order. Waiting writes are bounded by memory: beyond the bound a write is refused at
//! once.

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

/// Number of calls in a group from which the logger counts as under load.
const LOAD: usize = 16;
/// How often a lingering group checks whether it is complete: the timer's resolution.
const POLL_EVERY: Duration = Duration::from_millis(1);

/// Why a write failed or was not confirmed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// The queue is full. Nothing of this write was stored.
    #[error("too many writes are waiting for the store")]
    Full,
    /// The process is shutting down. Nothing of this write was stored.
    #[error("the logger is shutting down")]
    Ending,
    /// The store did not confirm the write.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Result of writing one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Stored.
    Created,
    /// Already stored with the same content.
    Repeated,
    /// The id is already stored with other content, which is kept.
    Conflict,
}

/// Queues writes. Cheap to clone. After the last clone is dropped, waiting writes are still written.
#[derive(Debug, Clone)]
pub struct Writer {
    queue: mpsc::UnboundedSender<Waiting>,
    room: Arc<Semaphore>,
    within: Duration,
    metrics: Metrics,
}

/// A waiting call.
#[derive(Debug)]
struct Waiting {
    entries: Vec<Entry>,
    span: Span,
    joined: Vec<Span>,
    answer: oneshot::Sender<Result<Vec<Written>, StoreError>>,
    _room: OwnedSemaphorePermit,
}

impl Writer {
    /// Starts the grouping task. It ends when every clone of the writer is dropped and everything is written.
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

    /// Stores the entries of a call. Returns one result for each, in order.
    ///
    /// # Errors
    /// After [`WriteError::Full`] and [`WriteError::Ending`] nothing was stored. After any other error some entries may be stored,
    /// and the call can be repeated.
    ///
    /// # Cancellation
    /// If the future is dropped, the entries are stored only if their group has been started.
    pub async fn write(&self, entries: Vec<Entry>) -> Result<Vec<Written>, WriteError> {
        self.write_joined(entries, Vec::new()).await
    }

    /// The same for a call that combines other calls: each of their spans gets a database span, too.
    ///
    /// # Errors
    /// The same as [`Self::write`].
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
            // While this waits, the queue fills, and a group forms.
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

    /// Under load, waits until three quarters of the last group's callers have joined the waiting ones, at most `LOG_LINGER`.
    async fn linger(&self, queue: &mpsc::UnboundedReceiver<Waiting>, last_calls: usize) {
        if last_calls < LOAD {
            return;
        }
        let until = Instant::now() + self.config.linger;
        let enough = queue.len() + last_calls * 3 / 4;
        while queue.len() < enough && queue.len() < self.config.max_entries && Instant::now() < until {
            sleep(POLL_EVERY).await;
        }
    }

    /// Takes waiting calls, up to the size of a group. Skips calls whose caller has gone, which were never acknowledged.
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
