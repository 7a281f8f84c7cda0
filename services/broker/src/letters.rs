//! Dead letters, wherever they are kept: the logger has those of RabbitMQ's queues, authentication has its outbox's.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use tokio::time::Instant;
use tonic::{Code, Status};
use uuid::Uuid;
use weft_events::{Publisher, Queue};
use weft_mesh::{Caller, Channel};
use weft_proto::weft::deadletter::MAX_MESSAGE_BYTES;
use weft_proto::weft::deadletter::v1::dead_letter_service_client::DeadLetterServiceClient;
use weft_proto::weft::deadletter::v1::{
    Content, GetRequest, Letter, ListRequest, ListResponse, RemoveRequest, ReplayRequest, ReplayResponse,
};

use crate::reply::ApiError;
use crate::signed_in::on_behalf;
use crate::upstream;

const OUTBOX: &str = "outbox";
/// A call may be about 100 letters. Longer than the logger gives its store, so that the logger's own answer comes first.
const ANSWERED_WITHIN: Duration = Duration::from_secs(12);
/// How long the confirmation of a replayed event may take.
const REPLAY_WITHIN: Duration = Duration::from_secs(10);

/// Where letters come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A queue of RabbitMQ.
    Queue(Queue),
    /// Authentication's outbox.
    Outbox,
}

impl Origin {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Queue(queue) => queue.name(),
            Self::Outbox => OUTBOX,
        }
    }
}

impl FromStr for Origin {
    type Err = ApiError;

    fn from_str(name: &str) -> Result<Self, ApiError> {
        if name == OUTBOX {
            return Ok(Self::Outbox);
        }
        name.parse().map(Self::Queue).map_err(|_| {
            let names = Queue::ALL.map(Queue::name).join(", ");
            ApiError::bad_request(format!("invalid queue: expected one of {names}, {OUTBOX}"))
        })
    }
}

/// The services that keep dead letters, and the publisher that replays them.
#[derive(Clone)]
pub(crate) struct DeadLetters {
    logger: DeadLetterServiceClient<Channel>,
    authentication: DeadLetterServiceClient<Channel>,
    publisher: Publisher,
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters").finish_non_exhaustive()
    }
}

impl DeadLetters {
    pub(crate) fn new(logger: Channel, authentication: Channel, publisher: Publisher) -> Self {
        let client = |channel: Channel| {
            DeadLetterServiceClient::new(channel.with_timeout(ANSWERED_WITHIN))
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
        };
        Self { logger: client(logger), authentication: client(authentication), publisher }
    }

    /// One page; without an origin, of all of RabbitMQ's queues.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        origin: Option<Origin>,
        request: ListRequest,
    ) -> Result<ListResponse, ApiError> {
        let listed = self.of(origin).list(on_behalf(caller, request)?).await;
        Ok(listed.map_err(|status| failed(origin, &status))?.into_inner())
    }

    /// One letter with its content.
    pub(crate) async fn get(
        &self,
        caller: &Caller,
        origin: Origin,
        id: Uuid,
    ) -> Result<(Letter, Content), ApiError> {
        let request = on_behalf(caller, GetRequest { id: id.to_string() })?;
        let found = self.of(Some(origin)).get(request).await;
        let found = found.map_err(|status| failed(Some(origin), &status))?.into_inner();
        let letter = found.letter.filter(|letter| letter.queue == origin.name()).ok_or_else(gone)?;
        Ok((letter, found.content.unwrap_or_default()))
    }

    /// Has the event handled again: marks the letter, publishes the event, and removes the letter once RabbitMQ has confirmed it.
    /// Interrupted in between, the letter is still there, and a second replay has the same event id.
    pub(crate) async fn replay(&self, caller: &Caller, origin: Origin, id: Uuid) -> Result<(), ApiError> {
        let request = on_behalf(caller, ReplayRequest { id: id.to_string() })?;
        let marked = self.of(Some(origin)).replay(request).await;
        let marked = marked.map_err(|status| failed(Some(origin), &status))?.into_inner();
        let ReplayResponse { letter: Some(letter), content: Some(content) } = marked else { return Ok(()) };
        let Origin::Queue(queue) = origin else { return Ok(()) };
        let Content { properties, body } = content;
        let deadline = Instant::now() + REPLAY_WITHIN;
        let published = self.publisher.replay(queue, &letter.r#type, &properties, &body, deadline).await;
        published.map_err(|error| upstream::events(&error))?;
        self.remove(caller, origin, &[id]).await.map(drop).map_err(|error| ApiError {
            message: "the event was published again, but its dead letter could not be removed: discard it"
                .into(),
            ..error
        })
    }

    /// Removes letters, and returns how many were there.
    pub(crate) async fn remove(
        &self,
        caller: &Caller,
        origin: Origin,
        ids: &[Uuid],
    ) -> Result<u32, ApiError> {
        let request = RemoveRequest { ids: ids.iter().map(Uuid::to_string).collect() };
        let removed = self.of(Some(origin)).remove(on_behalf(caller, request)?).await;
        Ok(removed.map_err(|status| failed(Some(origin), &status))?.into_inner().removed)
    }

    fn of(&self, origin: Option<Origin>) -> DeadLetterServiceClient<Channel> {
        match origin {
            Some(Origin::Outbox) => self.authentication.clone(),
            Some(Origin::Queue(_)) | None => self.logger.clone(),
        }
    }
}

pub(crate) fn gone() -> ApiError {
    ApiError::not_found("there is no such dead letter: it may have been replayed or discarded")
}

fn failed(origin: Option<Origin>, status: &Status) -> ApiError {
    match (status.code(), origin) {
        (Code::NotFound, _) => gone(),
        (_, Some(Origin::Outbox)) => upstream::authentication(status),
        _ => upstream::logger(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_queues_have_a_name() {
        assert_eq!("listener.mail".parse(), Ok(Origin::Queue(Queue::Mail)));
        assert_eq!("outbox".parse(), Ok(Origin::Outbox));
        for wrong in ["listener.log.retry.1s", "", "Outbox"] {
            assert!(
                wrong.parse::<Origin>().unwrap_err().message.contains("listener.log, listener.mail, outbox")
            );
        }
    }
}
