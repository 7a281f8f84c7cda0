//! Group commit: sends the log entries of many requests in few calls.
//!
//! A single request is sent at once, in a call of its own. Requests that arrive during a call are queued, and sent as a group when
//! the call ends. So requests share the cost of calls under load, and do not wait otherwise. Each request keeps its own spans on
//! both sides (`weft_mesh::joined`).
//!
//! Large entries are sent in calls of their own, in parallel, so that a small entry never waits for a large one. The queue is bounded
//! in bytes; beyond the bound a write is refused at once.

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

use self::lane::{Bounds, Lane, LaneError};

/// Entries with more bytes than this are large.
const LARGE_BYTES: usize = 16 << 10;
/// The next call waits for the previous one: the logger inserts one group at a time, so a second call would only wait there, and
/// groups would be smaller (measured with `make bench`, docs/evidence.md). The wait is bounded for calls that take longer than usual.
const SMALL: Bounds = Bounds {
    max_bytes: 8 << 20,
    max_entries: 256,
    max_calls: 8,
    wait_for_previous: Duration::from_millis(50),
};
const LARGE: Bounds =
    Bounds { max_bytes: 24 << 20, max_entries: 1, max_calls: 4, wait_for_previous: Duration::ZERO };
const WRITE_MANY: &str = "/weft.log.v1.LogService/WriteMany";

/// Sends entries to the logger. Cheap to clone; its tasks end when the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Writes {
    small: Lane,
    large: Lane,
    timeout: Duration,
}

/// A queued entry of one request.
#[derive(Debug)]
struct Waiting {
    entry: Entry,
    span: Span,
    answer: oneshot::Sender<Result<(), Status>>,
    bytes: usize,
    _room: OwnedSemaphorePermit,
}

impl Writes {
    /// Starts the tasks that send the entries.
    pub(crate) fn start(channel: Channel) -> Self {
        let timeout = channel.timeout();
        Self { small: Lane::start(channel.clone(), SMALL), large: Lane::start(channel, LARGE), timeout }
    }

    /// Stores an entry in the logger.
    ///
    /// # Errors
    /// The logger's status; DEADLINE_EXCEEDED when the logger has not answered within the channel's timeout, time in the queue
    /// included; RESOURCE_EXHAUSTED at once when the queue is full.
    ///
    /// # Cancellation
    /// If the future is dropped, the entry is still stored, unless its call has not started yet.
    pub(crate) async fn write(&self, entry: Entry) -> Result<(), Status> {
        let bytes = entry.encoded_len();
        let lane = if bytes > LARGE_BYTES { &self.large } else { &self.small };
        let room = lane.room(bytes).map_err(|error| Status::resource_exhausted(error.to_string()))?;
        let (answer, answered) = oneshot::channel();
        let unavailable = |error: LaneError| Status::unavailable(error.to_string());
        lane.push(Waiting { entry, span: Span::current(), answer, bytes, _room: room })
            .map_err(unavailable)?;
        match timeout(self.timeout, answered).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(unavailable(LaneError::ShuttingDown)),
            Err(_) => Err(Status::deadline_exceeded("the logger did not answer in time")),
        }
    }
}

async fn deliver(channel: Channel, mut group: Vec<Waiting>) {
    let client = LogServiceClient::new(channel.clone());
    match group.len() {
        0 => {}
        1 => write_one(client, group.remove(0)).await,
        _ => write_group(client, &channel, group).await,
    }
}

async fn write_one(mut client: LogServiceClient<Channel>, waiting: Waiting) {
    let Waiting { entry, span, answer, .. } = waiting;
    let outcome = client.write(WriteRequest { entry: Some(entry) }).instrument(span).await;
    let _ = answer.send(outcome.map(drop));
}

/// Sends a group in one call. The call's spans are those of the first entry; the others join it.
async fn write_group(mut client: LogServiceClient<Channel>, channel: &Channel, group: Vec<Waiting>) {
    let span = group.first().map_or_else(Span::none, |first| first.span.clone());
    let join = |waiting: &Waiting| waiting.span.in_scope(|| channel.join(WRITE_MANY));
    let joined: Vec<Joined> = group.iter().skip(1).map(join).collect();
    let mut traceparents = vec![String::new()];
    traceparents.extend(joined.iter().map(|call| call.traceparent().to_owned()));
    let entries = group.iter().map(|waiting| waiting.entry.clone()).collect();
    let outcome = client.write_many(WriteManyRequest { entries, traceparents }).instrument(span).await;
    let outcomes = outcomes_of(outcome.map(Response::into_inner), group.len());
    for (call, outcome) in joined.into_iter().zip(outcomes.iter().skip(1)) {
        call.end(outcome.as_ref().map_or_else(Status::code, |()| Code::Ok));
    }
    for (waiting, outcome) in group.into_iter().zip(outcomes) {
        if outcome.as_ref().is_err_and(|status| status.code() == Code::InvalidArgument) {
            // One entry is invalid, so none was stored: write each one separately.
            tokio::spawn(write_one(client.clone(), waiting));
        } else {
            let _ = waiting.answer.send(outcome);
        }
    }
}

/// The outcome of each entry. A conflict of one entry does not affect the others.
fn outcomes_of(outcome: Result<WriteManyResponse, Status>, count: usize) -> Vec<Result<(), Status>> {
    match outcome {
        Ok(WriteManyResponse { results }) if results.len() == count => {
            let conflict =
                || Status::already_exists("an entry with this id and other content is already stored");
            results.into_iter().map(|result| if result.conflict { Err(conflict()) } else { Ok(()) }).collect()
        }
        Ok(_) => vec![Err(Status::internal("the logger returned a different number of results")); count],
        Err(status) => vec![Err(status); count],
    }
}

#[cfg(test)]
mod tests {
    use weft_proto::weft::log::v1::WriteResponse;

    use super::*;

    #[test]
    fn a_conflict_affects_only_its_own_entry() {
        let result = |created, conflict| WriteResponse { created, conflict };
        let results = vec![result(true, false), result(false, true), result(false, false)];
        let outcomes = outcomes_of(Ok(WriteManyResponse { results }), 3);
        let codes = outcomes.iter().map(|outcome| outcome.as_ref().map_or_else(Status::code, |()| Code::Ok));
        assert_eq!(codes.collect::<Vec<_>>(), [Code::Ok, Code::AlreadyExists, Code::Ok]);
    }

    #[test]
    fn every_entry_fails_if_the_call_fails_or_results_are_missing() {
        assert!(outcomes_of(Err(Status::unavailable("x")), 2).iter().all(Result::is_err));
        assert!(outcomes_of(Ok(WriteManyResponse { results: vec![] }), 2).iter().all(Result::is_err));
    }
}
