//! Log writes of many requests in few calls.
//!
//! A request alone is one call of its own, at once. While [`CALLS`] calls are under way, the next requests gather, and go
//! together as soon as one of them is back: under load the price of a call is shared by all that wait for it, and there
//! is nothing to wait for otherwise. Each request keeps its own spans on both sides (`weft_mesh::joined`).

use std::sync::Arc;

use prost::Message as _;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tonic::{Code, Response, Status};
use tracing::{Instrument as _, Span};
use weft_mesh::Channel;
use weft_mesh::joined::Joined;
use weft_proto::weft::log::v1::log_service_client::LogServiceClient;
use weft_proto::weft::log::v1::{Entry, WriteManyRequest, WriteManyResponse, WriteRequest};

/// Calls under way at once. More of them would only wait in the logger, which inserts one group at a time, and groups would be smaller
/// (measured with `make bench`, docs/evidence.md).
const CALLS: usize = 1;
/// What one call carries at most, well below gRPC's usual limit of 4 MiB for a message.
const MOST_ENTRIES: usize = 256;
const MOST_BYTES: usize = 1 << 20;
const WRITE_MANY: &str = "/weft.log.v1.LogService/WriteMany";

/// Hands entries to the logger. Cheap to clone; ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Writes {
    queue: mpsc::UnboundedSender<Waiting>,
    channel: Channel,
}

/// One request's entry on its way.
#[derive(Debug)]
struct Waiting {
    entry: Entry,
    span: Span,
    answer: oneshot::Sender<Result<(), Status>>,
}

impl Writes {
    /// Starts the task that gathers.
    pub(crate) fn start(channel: Channel) -> Self {
        let (queue, waiting) = mpsc::unbounded_channel();
        tokio::spawn(gather(channel.clone(), waiting));
        Self { queue, channel }
    }

    /// Has the logger store an entry.
    ///
    /// # Errors
    /// With the logger's status; DEADLINE_EXCEEDED when it has none within the channel's timeout, gathering included.
    ///
    /// # Cancellation
    /// A dropped request's entry is stored all the same, unless its call was not begun yet.
    pub(crate) async fn write(&self, entry: Entry) -> Result<(), Status> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { entry, span: Span::current(), answer };
        let ended = || Status::unavailable("the broker is ending");
        self.queue.send(waiting).map_err(|_| ended())?;
        match timeout(self.channel.timeout(), answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(ended()),
            Err(_) => Err(Status::deadline_exceeded("the logger did not answer in time")),
        }
    }
}

async fn gather(channel: Channel, mut queue: mpsc::UnboundedReceiver<Waiting>) {
    let calls = Arc::new(Semaphore::new(CALLS));
    let mut next = None;
    loop {
        let first = match next.take() {
            Some(waiting) => waiting,
            None => match queue.recv().await {
                Some(waiting) => waiting,
                None => return,
            },
        };
        // While this waits, the queue fills: that is what makes groups.
        let Ok(place) = Arc::clone(&calls).acquire_owned().await else { return };
        let group = group(first, &mut queue, &mut next);
        let channel = channel.clone();
        tokio::spawn(async move {
            deliver(channel, group).await;
            drop(place);
        });
    }
}

/// What waits now, up to a call's size. Leaves out those who have gone: nobody was told that theirs is stored.
fn group(
    first: Waiting,
    queue: &mut mpsc::UnboundedReceiver<Waiting>,
    next: &mut Option<Waiting>,
) -> Vec<Waiting> {
    let (mut group, mut bytes) = (Vec::new(), 0);
    let mut candidate = Some(first);
    while let Some(waiting) = candidate {
        if !waiting.answer.is_closed() {
            bytes += waiting.entry.encoded_len();
            if !group.is_empty() && (bytes > MOST_BYTES || group.len() == MOST_ENTRIES) {
                *next = Some(waiting);
                break;
            }
            group.push(waiting);
        }
        candidate = queue.try_recv().ok();
    }
    group
}

async fn deliver(channel: Channel, mut group: Vec<Waiting>) {
    let client = LogServiceClient::new(channel.clone());
    match group.len() {
        0 => {}
        1 => alone(client, group.remove(0)).await,
        _ => together(client, &channel, group).await,
    }
}

async fn alone(mut client: LogServiceClient<Channel>, waiting: Waiting) {
    let Waiting { entry, span, answer } = waiting;
    let outcome = client.write(WriteRequest { entry: Some(entry) }).instrument(span).await;
    let _ = answer.send(outcome.map(drop));
}

/// One call for all. It is the first one's own; the others join it.
async fn together(mut client: LogServiceClient<Channel>, channel: &Channel, group: Vec<Waiting>) {
    let span = group.first().map_or_else(Span::none, |first| first.span.clone());
    let join = |waiting: &Waiting| waiting.span.in_scope(|| channel.join(WRITE_MANY));
    let joined: Vec<Joined> = group.iter().skip(1).map(join).collect();
    let mut traceparents = vec![String::new()];
    traceparents.extend(joined.iter().map(|call| call.traceparent().to_owned()));
    let entries = group.iter().map(|waiting| waiting.entry.clone()).collect();
    let outcome = client.write_many(WriteManyRequest { entries, traceparents }).instrument(span).await;
    let outcomes = each(outcome.map(Response::into_inner), group.len());
    for (call, outcome) in joined.into_iter().zip(outcomes.iter().skip(1)) {
        call.end(outcome.as_ref().map_or_else(Status::code, |()| Code::Ok));
    }
    for (waiting, outcome) in group.into_iter().zip(outcomes) {
        if outcome.as_ref().is_err_and(|status| status.code() == Code::InvalidArgument) {
            // One of them is invalid, and nothing is written: each gets its own verdict.
            tokio::spawn(alone(client.clone(), waiting));
        } else {
            let _ = waiting.answer.send(outcome);
        }
    }
}

/// The outcome of each of so many entries: one that conflicts with a stored one says nothing of the others.
fn each(outcome: Result<WriteManyResponse, Status>, count: usize) -> Vec<Result<(), Status>> {
    match outcome {
        Ok(WriteManyResponse { results }) if results.len() == count => {
            let conflict = || Status::already_exists("an entry of this id with other content is stored");
            results.into_iter().map(|result| if result.conflict { Err(conflict()) } else { Ok(()) }).collect()
        }
        Ok(_) => vec![Err(Status::internal("the logger answered another number of entries")); count],
        Err(status) => vec![Err(status); count],
    }
}

#[cfg(test)]
mod tests {
    use weft_proto::weft::log::v1::WriteResponse;

    use super::*;

    #[test]
    fn a_conflict_is_the_answer_to_its_own_entry_alone() {
        let result = |created, conflict| WriteResponse { created, conflict };
        let results = vec![result(true, false), result(false, true), result(false, false)];
        let outcomes = each(Ok(WriteManyResponse { results }), 3);
        let codes = outcomes.iter().map(|outcome| outcome.as_ref().map_or_else(Status::code, |()| Code::Ok));
        assert_eq!(codes.collect::<Vec<_>>(), [Code::Ok, Code::AlreadyExists, Code::Ok]);
    }

    #[test]
    fn every_entry_fails_with_its_call_or_when_an_answer_is_missing() {
        assert!(each(Err(Status::unavailable("x")), 2).iter().all(Result::is_err));
        assert!(each(Ok(WriteManyResponse { results: vec![] }), 2).iter().all(Result::is_err));
    }
}
