//! Log writes of many requests in few calls.
//!
//! A request alone is one call of its own, at once. While a call is under way, the next requests gather, and go together as
//! soon as it is back: under load the price of a call is shared by all that wait for it, and there is nothing to wait for
//! otherwise. Each request keeps its own spans on both sides (`weft_mesh::joined`).
//!
//! Large entries go in calls of their own, beside these, so that a small entry never waits for a large one. What waits is
//! bounded in bytes; past it a write is refused at once.

mod lane;

use std::time::Duration;

use prost::Message as _;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;
use tonic::{Code, Response, Status};
use tracing::{Instrument as _, Span};
use weft_mesh::Channel;
use weft_mesh::joined::Joined;
use weft_proto::weft::log::v1::log_service_client::LogServiceClient;
use weft_proto::weft::log::v1::{Entry, WriteManyRequest, WriteManyResponse, WriteRequest};

use self::lane::{Lane, LaneError, Shape};

/// An entry of more bytes is large.
const LARGE_BYTES: usize = 16 << 10;
/// The next call waits for the last one, since a second call would only wait in the logger, which inserts one group at a time,
/// and groups would be smaller (measured with `make bench`, docs/evidence.md). A call that takes longer than usual is not
/// waited for.
const SMALL: Shape =
    Shape { room_bytes: 8 << 20, entries: 256, calls: 8, patience: Duration::from_millis(50) };
const LARGE: Shape = Shape { room_bytes: 24 << 20, entries: 1, calls: 4, patience: Duration::ZERO };
const WRITE_MANY: &str = "/weft.log.v1.LogService/WriteMany";

/// Hands entries to the logger. Cheap to clone; ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Writes {
    small: Lane,
    large: Lane,
    timeout: Duration,
}

/// One request's entry on its way.
#[derive(Debug)]
struct Waiting {
    entry: Entry,
    span: Span,
    answer: oneshot::Sender<Result<(), Status>>,
    bytes: usize,
    _room: OwnedSemaphorePermit,
}

impl Writes {
    /// Starts the tasks that gather.
    pub(crate) fn start(channel: Channel) -> Self {
        let timeout = channel.timeout();
        Self { small: Lane::start(channel.clone(), SMALL), large: Lane::start(channel, LARGE), timeout }
    }

    /// Has the logger store an entry.
    ///
    /// # Errors
    /// With the logger's status; DEADLINE_EXCEEDED when it has none within the channel's timeout, gathering included;
    /// RESOURCE_EXHAUSTED at once when too many bytes wait already.
    ///
    /// # Cancellation
    /// A dropped request's entry is stored all the same, unless its call was not begun yet.
    pub(crate) async fn write(&self, entry: Entry) -> Result<(), Status> {
        let bytes = entry.encoded_len();
        let lane = if bytes > LARGE_BYTES { &self.large } else { &self.small };
        let room = lane.room(bytes).map_err(|error| Status::resource_exhausted(error.to_string()))?;
        let (answer, answered) = oneshot::channel();
        let ended = |error: LaneError| Status::unavailable(error.to_string());
        lane.push(Waiting { entry, span: Span::current(), answer, bytes, _room: room }).map_err(ended)?;
        match timeout(self.timeout, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(ended(LaneError::Ending)),
            Err(_) => Err(Status::deadline_exceeded("the logger did not answer in time")),
        }
    }
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
    let Waiting { entry, span, answer, .. } = waiting;
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
