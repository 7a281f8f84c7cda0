//! A line of entries that wait for the logger, and the calls in which they go.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use weft_mesh::Channel;

use super::{Waiting, deliver};

/// What one call carries at most, well below gRPC's usual limit of 4 MiB for a message.
const MOST_BYTES: usize = 1 << 20;
/// What an entry counts beside its own bytes.
const ENTRY_BYTES: usize = 512;

/// How entries of one kind go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Bytes that may wait or be under way.
    pub(super) room_bytes: usize,
    /// Entries in one call.
    pub(super) entries: usize,
    /// Calls under way at once.
    pub(super) calls: usize,
    /// For how long the next call waits for the last one.
    pub(super) patience: Duration,
}

/// Takes entries of one kind. Cheap to clone; ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    queue: mpsc::UnboundedSender<Waiting>,
    room: Arc<Semaphore>,
}

/// Why an entry can't wait here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum LaneError {
    #[error("too many bytes of log entries wait for the logger")]
    Full,
    #[error("the broker is ending")]
    Ending,
}

impl Lane {
    /// Starts the task that gathers.
    pub(super) fn start(channel: Channel, shape: Shape) -> Self {
        let (queue, waiting) = mpsc::unbounded_channel();
        tokio::spawn(gather(channel, waiting, shape));
        Self { queue, room: Arc::new(Semaphore::new(shape.room_bytes)) }
    }

    /// Room for an entry of this many bytes.
    pub(super) fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, LaneError> {
        let bytes = u32::try_from(bytes.saturating_add(ENTRY_BYTES)).map_err(|_| LaneError::Full)?;
        Arc::clone(&self.room).try_acquire_many_owned(bytes).map_err(|_| LaneError::Full)
    }

    pub(super) fn push(&self, waiting: Waiting) -> Result<(), LaneError> {
        self.queue.send(waiting).map_err(|_| LaneError::Ending)
    }
}

async fn gather(channel: Channel, mut queue: mpsc::UnboundedReceiver<Waiting>, shape: Shape) {
    let calls = Arc::new(Semaphore::new(shape.calls));
    let (mut next, mut last) = (None, None::<oneshot::Receiver<()>>);
    loop {
        let first = match next.take() {
            Some(waiting) => waiting,
            None => match queue.recv().await {
                Some(waiting) => waiting,
                None => return,
            },
        };
        let Ok(place) = Arc::clone(&calls).acquire_owned().await else { return };
        // While this waits, the queue fills: that is what makes groups. A call that hangs must not hold up the others.
        if let Some(last) = last.take() {
            let _ = timeout(shape.patience, last).await;
        }
        let group = group(first, &mut queue, &mut next, shape.entries);
        let (call, over) = oneshot::channel();
        last = Some(over);
        let channel = channel.clone();
        tokio::spawn(async move {
            deliver(channel, group).await;
            drop((place, call));
        });
    }
}

/// What waits now, up to a call's size. Leaves out those who have gone: nobody was told that theirs is stored.
fn group(
    first: Waiting,
    queue: &mut mpsc::UnboundedReceiver<Waiting>,
    next: &mut Option<Waiting>,
    most_entries: usize,
) -> Vec<Waiting> {
    let (mut group, mut bytes) = (Vec::new(), 0);
    let mut candidate = Some(first);
    while let Some(waiting) = candidate {
        if !waiting.answer.is_closed() {
            bytes += waiting.bytes;
            if !group.is_empty() && (bytes > MOST_BYTES || group.len() == most_entries) {
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
    async fn large_entries_are_refused_when_they_have_no_room_and_small_ones_are_not() {
        // It accepts connections and never answers.
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
            assert!(waiting.len() < 100, "nothing bounds what waits");
        };
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert!(waiting.len() > 4, "{}", waiting.len());
        assert!(futures::poll!(Box::pin(writes.write(entry(10)))).is_pending());
    }
}
