//! Dead letters: the logger keeps those of RabbitMQ's queues, authentication keeps those of its outbox.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use futures::future::try_join_all;
use tokio::time::Instant;
use tonic::{Code, Status};
use uuid::Uuid;
use weft_events::{PublishError, Publisher, Queue};
use weft_mesh::{Caller, Channel};
use weft_proto::weft::deadletter::v1::dead_letter_service_client::DeadLetterServiceClient;
use weft_proto::weft::deadletter::v1::{
    Content, GetRequest, Letter, ListRequest, ListResponse, ReleaseRequest, RemoveRequest, ReplayRequest,
    ReplayResponse,
};
use weft_proto::weft::deadletter::{MAX_MESSAGE_BYTES, REPLAY_TIMEOUT};

use crate::logger::Logger;
use crate::reply::ApiError;
use crate::upstream::{self, on_behalf};

const OUTBOX: &str = "outbox";
/// A call may be about 100 dead letters. Longer than the logger's timeout for its store, so that the logger's own reply comes first.
const CALL_TIMEOUT: Duration = Duration::from_secs(12);
/// How long RabbitMQ may take to confirm a replayed event.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
/// While a replay runs, no other one of the same dead letter starts.
const _: () = assert!(2 * CALL_TIMEOUT.as_secs() + CONFIRM_TIMEOUT.as_secs() < REPLAY_TIMEOUT.as_secs());

/// Where dead letters come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A RabbitMQ queue.
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

/// The services that keep dead letters, the publisher that replays them, and the logger that stores the audit records.
pub(crate) struct DeadLetters {
    logger: DeadLetterServiceClient<Channel>,
    authentication: DeadLetterServiceClient<Channel>,
    publisher: Publisher,
    audits: Arc<Logger>,
}

impl DeadLetters {
    pub(crate) fn new(
        logger: Channel,
        authentication: Channel,
        publisher: Publisher,
        audits: Arc<Logger>,
    ) -> Self {
        let client = |channel: Channel| {
            DeadLetterServiceClient::new(channel.with_timeout(CALL_TIMEOUT))
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
        };
        Self { logger: client(logger), authentication: client(authentication), publisher, audits }
    }

    /// Lists one page; without an origin, of all RabbitMQ queues.
    pub(crate) async fn list(
        &self,
        caller: &Caller,
        origin: Option<Origin>,
        request: ListRequest,
    ) -> Result<ListResponse, ApiError> {
        let listed = self.of(origin).list(on_behalf(caller, request)?).await;
        Ok(listed.map_err(|status| failed(origin, &status))?.into_inner())
    }

    /// Returns a dead letter with its content.
    pub(crate) async fn get(
        &self,
        caller: &Caller,
        origin: Origin,
        id: Uuid,
    ) -> Result<(Letter, Content), ApiError> {
        let request = on_behalf(caller, GetRequest { id: id.to_string() })?;
        let found = self.of(Some(origin)).get(request).await;
        let found = found.map_err(|status| failed(Some(origin), &status))?.into_inner();
        let letter = found.letter.filter(|letter| letter.queue == origin.name()).ok_or_else(not_found)?;
        Ok((letter, found.content.unwrap_or_default()))
    }

    /// Replays a dead letter: stores an audit record, marks the dead letter, publishes its event, and removes it once RabbitMQ has
    /// confirmed the event. Of parallel replays of one dead letter, one publishes. If a replay is interrupted, the dead letter is still
    /// listed, and a replay after [`REPLAY_TIMEOUT`] may publish the same event id again.
    pub(crate) async fn replay(
        &self,
        caller: &Caller,
        origin: Origin,
        letter: &Letter,
    ) -> Result<(), ApiError> {
        self.audit(caller, "dead letter replayed", letter).await?;
        let id = read_id(letter)?;
        let request = on_behalf(caller, ReplayRequest { id: id.to_string() })?;
        let marked = self.of(Some(origin)).replay(request).await;
        let marked = marked.map_err(|status| failed(Some(origin), &status))?.into_inner();
        let ReplayResponse { letter: Some(letter), content: Some(content) } = marked else { return Ok(()) };
        let Origin::Queue(queue) = origin else { return Ok(()) };
        let Content { properties, body } = content;
        let deadline = Instant::now() + CONFIRM_TIMEOUT;
        let published = self.publisher.replay(queue, &letter.r#type, &properties, &body, deadline).await;
        if let Err(error) = published {
            return Err(self.unpublished(caller, id, &error).await);
        }
        self.remove(caller, origin, &[id]).await.map(drop).map_err(|error| ApiError {
            message: "the event was published again, but removing its dead letter failed: discard it".into(),
            ..error
        })
    }

    /// Ends a replay that failed. If the event was surely not published, the next replay may start at once.
    async fn unpublished(&self, caller: &Caller, id: Uuid, error: &PublishError) -> ApiError {
        let answer = upstream::events(error);
        if matches!(error, PublishError::Unconfirmed { .. }) {
            return ApiError {
                message: "RabbitMQ did not confirm the event in time, so it may have been published: its dead letter stays, and can be \
                    replayed again after 60 s, which may publish the event twice"
                    .into(),
                ..answer.after(REPLAY_TIMEOUT)
            };
        }
        let released = match on_behalf(caller, ReleaseRequest { id: id.to_string() }) {
            Ok(request) => self.logger.clone().release(request).await.map(drop),
            Err(refused) => return refused,
        };
        if let Err(status) = released {
            tracing::warn!(%id, reason = status.message(), "failed to end a replay: the dead letter can be replayed again after 60 s");
        }
        answer
    }

    /// Removes dead letters after an audit record of each is stored, and returns how many of them existed.
    pub(crate) async fn discard(
        &self,
        caller: &Caller,
        origin: Origin,
        letters: &[Letter],
    ) -> Result<u32, ApiError> {
        let recorded = letters.iter().map(|letter| self.audit(caller, "dead letter discarded", letter));
        try_join_all(recorded).await?;
        let ids = letters.iter().map(read_id).collect::<Result<Vec<_>, _>>()?;
        if ids.is_empty() { Ok(0) } else { self.remove(caller, origin, &ids).await }
    }

    async fn remove(&self, caller: &Caller, origin: Origin, ids: &[Uuid]) -> Result<u32, ApiError> {
        let request = RemoveRequest { ids: ids.iter().map(Uuid::to_string).collect() };
        let removed = self.of(Some(origin)).remove(on_behalf(caller, request)?).await;
        Ok(removed.map_err(|status| failed(Some(origin), &status))?.into_inner().removed)
    }

    async fn audit(&self, caller: &Caller, name: &str, letter: &Letter) -> Result<(), ApiError> {
        let Letter { id, queue, event_id, r#type, .. } = letter;
        let attributes = [
            ("user", caller.user.as_str()),
            ("queue", queue),
            ("id", event_id),
            ("type", r#type),
            ("letter", id),
        ];
        self.audits.audit(name, attributes).await
    }

    fn of(&self, origin: Option<Origin>) -> DeadLetterServiceClient<Channel> {
        match origin {
            Some(Origin::Outbox) => self.authentication.clone(),
            Some(Origin::Queue(_)) | None => self.logger.clone(),
        }
    }
}

fn read_id(letter: &Letter) -> Result<Uuid, ApiError> {
    letter.id.parse().map_err(|_| upstream::invalid_reply("logger", "letter.id"))
}

pub(crate) fn not_found() -> ApiError {
    ApiError::not_found("dead letter not found: it may have been replayed or discarded")
}

fn failed(origin: Option<Origin>, status: &Status) -> ApiError {
    match (status.code(), origin) {
        (Code::NotFound, _) => not_found(),
        (Code::FailedPrecondition, Some(Origin::Queue(_))) => ApiError::new(
            StatusCode::CONFLICT,
            "another replay of this dead letter is running; if the dead letter is still listed after 60 s, replay it again",
        ),
        (_, Some(Origin::Outbox)) => upstream::authentication(status),
        _ => upstream::logger(status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_known_queues() {
        assert_eq!("listener.mail".parse(), Ok(Origin::Queue(Queue::Mail)));
        assert_eq!("outbox".parse(), Ok(Origin::Outbox));
        for invalid in ["listener.log.retry.1s", "", "Outbox"] {
            assert!(
                invalid
                    .parse::<Origin>()
                    .unwrap_err()
                    .message
                    .contains("listener.log, listener.mail, outbox")
            );
        }
    }
}
