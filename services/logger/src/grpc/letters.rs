//! `weft.deadletter.v1.DeadLetterService`: stores, lists and removes dead letters.

use std::sync::Arc;

use prost_types::Timestamp;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use weft_proto::weft::deadletter::MAX_CONTENT_BYTES;
use weft_proto::weft::deadletter::v1 as pb;
use weft_proto::weft::deadletter::v1::dead_letter_service_server::DeadLetterService;
use weft_runtime::clock::Clock;

use super::{status, to_timestamp};
use crate::cursor;
use crate::letter::{Content, Letter, LetterQuery};
use crate::store::mongo::letters::{MongoLetters, Replay};
use crate::validate::{self, Invalid};

/// Maximum length of a text that a list contains.
const TEXT_BYTES: usize = 1024;
const MAX_IDS: usize = 1_000;

/// Implements the service.
#[derive(Clone)]
pub struct Letters {
    /// The stored letters.
    pub store: MongoLetters,
    /// Current time.
    pub clock: Arc<dyn Clock>,
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl DeadLetterService for Letters {
    async fn store(&self, request: Request<pb::StoreRequest>) -> Reply<pb::StoreResponse> {
        let (letter, content) = read(request.into_inner(), self.now_ms()).map_err(status::invalid)?;
        let created = self.store.insert(letter, content).await.map_err(status::failed)?;
        Ok(Response::new(pb::StoreResponse { created }))
    }

    async fn list(&self, request: Request<pb::ListRequest>) -> Reply<pb::ListResponse> {
        let query = query(request.into_inner()).map_err(status::invalid)?;
        let (letters, next) = self.store.list(query).await.map_err(status::failed)?;
        let next_cursor = next.as_ref().map(cursor::encode).unwrap_or_default();
        Ok(Response::new(pb::ListResponse {
            items: letters.into_iter().map(to_proto).collect(),
            next_cursor,
        }))
    }

    async fn get(&self, request: Request<pb::GetRequest>) -> Reply<pb::GetResponse> {
        let id = id("id", &request.into_inner().id).map_err(status::invalid)?;
        let (letter, content) = self.store.get(id).await.map_err(status::failed)?.ok_or_else(not_found)?;
        let (letter, content) = (Some(to_proto(letter)), Some(content_to_proto(content)));
        Ok(Response::new(pb::GetResponse { letter, content }))
    }

    async fn replay(&self, request: Request<pb::ReplayRequest>) -> Reply<pb::ReplayResponse> {
        let id = id("id", &request.into_inner().id).map_err(status::invalid)?;
        let replay = self.store.replay(id, self.now_ms()).await.map_err(status::failed)?;
        match replay.ok_or_else(not_found)? {
            Replay::Started(started) => {
                let (letter, content) = *started;
                let (letter, content) = (Some(to_proto(letter)), Some(content_to_proto(content)));
                Ok(Response::new(pb::ReplayResponse { letter, content }))
            }
            Replay::Running => {
                Err(Status::failed_precondition("another replay of this dead letter is running"))
            }
        }
    }

    async fn release(&self, request: Request<pb::ReleaseRequest>) -> Reply<pb::ReleaseResponse> {
        let id = id("id", &request.into_inner().id).map_err(status::invalid)?;
        self.store.release(id).await.map_err(status::failed)?;
        Ok(Response::new(pb::ReleaseResponse {}))
    }

    async fn remove(&self, request: Request<pb::RemoveRequest>) -> Reply<pb::RemoveResponse> {
        let ids = ids(&request.into_inner().ids).map_err(status::invalid)?;
        let removed = self.store.remove(ids).await.map_err(status::failed)?;
        Ok(Response::new(pb::RemoveResponse { removed: u32::try_from(removed).unwrap_or(u32::MAX) }))
    }
}

impl Letters {
    fn now_ms(&self) -> i64 {
        self.clock.now().as_millisecond()
    }
}

fn not_found() -> Status {
    Status::not_found("dead letter not found: it may have been replayed or discarded")
}

fn invalid(field: &str, reason: impl Into<String>) -> Invalid {
    Invalid { field: field.to_owned(), reason: reason.into() }
}

fn id(field: &str, text: &str) -> Result<Uuid, Invalid> {
    Uuid::try_parse(text).map_err(|_| invalid(field, "is not a UUID"))
}

fn ids(texts: &[String]) -> Result<Vec<Uuid>, Invalid> {
    if !(1..=MAX_IDS).contains(&texts.len()) {
        return Err(invalid("ids", format!("has {} ids; expected 1 to {MAX_IDS}", texts.len())));
    }
    texts.iter().map(|text| id("ids", text)).collect()
}

/// Times that can't be stored are dropped: they come from the message, and every message is accepted.
fn read(request: pb::StoreRequest, now_ms: i64) -> Result<(Letter, Content), Invalid> {
    let letter = request.letter.ok_or_else(|| invalid("letter", "is missing"))?;
    let pb::Content { properties, body } = request.content.ok_or_else(|| invalid("content", "is missing"))?;
    let bytes = properties.len() + body.len();
    if bytes > MAX_CONTENT_BYTES {
        return Err(invalid("content", format!("has {bytes} bytes; expected at most {MAX_CONTENT_BYTES}")));
    }
    let pb::Letter {
        id: letter_id,
        queue,
        event_id,
        r#type: kind,
        source,
        time,
        dead_at,
        reason,
        attempts,
        trace_id,
        size: _,
        replaying_since: _,
    } = letter;
    if queue.is_empty() {
        return Err(invalid("letter.queue", "is missing"));
    }
    for (field, text) in [
        ("queue", &queue),
        ("event_id", &event_id),
        ("type", &kind),
        ("source", &source),
        ("reason", &reason),
    ] {
        if text.len() > TEXT_BYTES {
            let reason = format!("has {} bytes; expected at most {TEXT_BYTES}", text.len());
            return Err(invalid(&format!("letter.{field}"), reason));
        }
    }
    let moment = |time: Option<Timestamp>| time.and_then(|time| weft_values::time::to_ms(&time).ok());
    let letter = Letter {
        id: id("letter.id", &letter_id)?,
        queue,
        event_id,
        kind,
        source,
        time_ms: moment(time),
        dead_at_ms: moment(dead_at).unwrap_or(now_ms),
        reason,
        attempts,
        trace_id: validate::trace(trace_id)
            .map_err(|reason| invalid("letter.trace_id", reason))?
            .unwrap_or_default(),
        size: body.len() as u64,
        replaying_ms: None,
    };
    Ok((letter, Content { properties, body }))
}

fn query(request: pb::ListRequest) -> Result<LetterQuery, Invalid> {
    let pb::ListRequest { filter, limit, cursor } = request;
    let pb::Filter { queue, r#type: kind, reason, from, to } = filter.unwrap_or_default();
    let text = |field: &'static str, text: String| {
        validate::filter(text, validate::TEXT_CHARACTERS).map_err(|reason| invalid(field, reason))
    };
    let moment = |field: &'static str, time: Option<Timestamp>| {
        time.map(|time| weft_values::time::to_ms(&time).map_err(|reason| invalid(field, reason.to_string())))
            .transpose()
    };
    let after = match cursor.as_str() {
        "" => None,
        text => Some(
            cursor::decode(text)
                .ok_or_else(|| invalid("cursor", "is invalid; expected next_cursor of the previous page"))?,
        ),
    };
    Ok(LetterQuery {
        queue: text("queue", queue)?,
        kind: text("type", kind)?,
        reason: text("reason", reason)?,
        from_ms: moment("from", from)?,
        to_ms: moment("to", to)?,
        limit: validate::limit(limit).map_err(|reason| invalid("limit", reason))?,
        after,
    })
}

fn to_proto(letter: Letter) -> pb::Letter {
    let Letter {
        id,
        queue,
        event_id,
        kind,
        source,
        time_ms,
        dead_at_ms,
        reason,
        attempts,
        trace_id,
        size,
        replaying_ms,
    } = letter;
    pb::Letter {
        id: id.to_string(),
        queue,
        event_id,
        r#type: kind,
        source,
        time: time_ms.map(to_timestamp),
        dead_at: Some(to_timestamp(dead_at_ms)),
        reason,
        attempts,
        trace_id,
        size,
        replaying_since: replaying_ms.map(to_timestamp),
    }
}

fn content_to_proto(content: Content) -> pb::Content {
    let Content { properties, body } = content;
    pb::Content { properties, body }
}
