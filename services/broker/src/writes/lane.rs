//! Queues entries for the logger and sends them in calls.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use weft_mesh::Channel;

use super::{Waiting, deliver};

/// Upper bound on the bytes of one call, well below gRPC's default limit of 4 MiB for a message.
const MAX_CALL_BYTES: usize = 1 << 20;
/// What an entry counts in addition to its own bytes.
const ENTRY_BYTES: usize = 512;

/// Bounds of a lane.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Bytes that may be queued or in flight.
    pub(super) max_bytes: usize,
    /// Entries per call.
    pub(super) max_entries: usize,
    /// Concurrent calls.
    pub(super) max_calls: usize,
    /// How long the next call waits for the previous one to end.
    pub(super) wait_for_previous: Duration,
}

/// A queue of entries. Cheap to clone; its task ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    queue: mpsc::UnboundedSender<Waiting>,
    room: Arc<Semaphore>,
}

/// Why an entry was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum LaneError {
    #[error("too many bytes of log entries are waiting for the logger")]
    Full,
    #[error("the broker is shutting down")]
    ShuttingDown,
}

impl Lane {
    /// Starts the task that sends the entries.
    pub(super) fn start(channel: Channel, bounds: Bounds) -> Self {
        let (queue, waiting) = mpsc::unbounded_channel();
        tokio::spawn(send_groups(channel, waiting, bounds));
        Self { queue, room: Arc::new(Semaphore::new(bounds.max_bytes)) }
    }

    /// Reserves room for an entry of this many bytes.
    pub(super) fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, LaneError> {
        let bytes = u32::try_from(bytes.saturating_add(ENTRY_BYTES)).map_err(|_| LaneError::Full)?;
        Arc::clone(&self.room).try_acquire_many_owned(bytes).map_err(|_| LaneError::Full)
    }

    pub(super) fn push(&self, waiting: Waiting) -> Result<(), LaneError> {
        self.queue.send(waiting).map_err(|_| LaneError::ShuttingDown)
    }
}

async fn send_groups(channel: Channel, mut queue: mpsc::UnboundedReceiver<Waiting>, bounds: Bounds) {
    let calls = Arc::new(Semaphore::new(bounds.max_calls));
    let (mut next, mut last) = (None, None::<oneshot::Receiver<()>>);
    loop {
        let first = match next.take() {
            Some(waiting) => waiting,
            None => match queue.recv().await {
                Some(waiting) => waiting,
                None => return,
            },
        };
        let Ok(permit) = Arc::clone(&calls).acquire_owned().await else { return };
        // Entries are queued during this wait, and then sent as one group. The wait is bounded, so a call that hangs does not
        // delay the others.
        if let Some(last) = last.take() {
            let _ = timeout(bounds.wait_for_previous, last).await;
        }
        let group = group(first, &mut queue, &mut next, bounds.max_entries);
        let (call, ended) = oneshot::channel();
        last = Some(ended);
        let channel = channel.clone();
        tokio::spawn(async move {
            deliver(channel, group).await;
            drop((permit, call));
        });
    }
}

/// Takes queued entries up to the size of a call. Drops entries whose client has disconnected: they were not acknowledged.
fn group(
    first: Waiting,
    queue: &mut mpsc::UnboundedReceiver<Waiting>,
    next: &mut Option<Waiting>,
    max_entries: usize,
) -> Vec<Waiting> {
    let (mut group, mut bytes) = (Vec::new(), 0);
    let mut candidate = Some(first);
    while let Some(waiting) = candidate {
        if !waiting.answer.is_closed() {
            bytes += waiting.bytes;
            if !group.is_empty() && (bytes > MAX_CALL_BYTES || group.len() == max_entries) {
                *next = Some(waiting);
                break;
            }
            group.push(waiting);
        }
        candidate = queue.try_recv().ok();
    }
    group
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use weft_mesh::Mesh;
    use weft_mesh::MeshConfig;
    use weft_proto::weft::log::v1::Entry;
    use weft_runtime::config::{Fixed, Settings};
    use weft_runtime::metrics::Metrics;

    use super::super::Writes;
    use tonic::Code;

    fn entry(bytes: usize) -> Entry {
        Entry { data: "x".repeat(bytes), ..Entry::default() }
    }

    #[tokio::test]
    async fn a_full_lane_of_large_entries_does_not_affect_small_ones() {
        // Accepts connections and never answers.
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("logger={}", silent.local_addr().unwrap());
        let settings = [("WEFT_MESH_SECURITY", "plaintext"), ("WEFT_MESH_ADDRESSES", address.as_str())];
        let config = MeshConfig::from_settings(&Settings::new(Fixed::new(settings))).unwrap();
        let logger = Mesh::new(config, &Metrics::default()).channel("logger").unwrap();
        let writes = Writes::start(logger);

        let mut waiting = Vec::new();
        let refused = loop {
            let mut write = Box::pin(writes.write(entry(1 << 20)));
            match futures::poll!(&mut write) {
                std::task::Poll::Pending => waiting.push(write),
                std::task::Poll::Ready(outcome) => break outcome.unwrap_err(),
            }
            assert!(waiting.len() < 100, "the queue is not bounded");
        };
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(waiting.len() > 4, "{}", waiting.len());
        assert!(futures::poll!(Box::pin(writes.write(entry(10)))).is_pending());
    }
}
