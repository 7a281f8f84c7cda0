//! `weft.deadletter.v1.DeadLetterService`: the failed letters of the outbox, as dead letters of the queue `outbox`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use tonic::{Request, Response, Status};
use uuid::Uuid;
use weft_proto::weft::deadletter::v1 as pb;
use weft_proto::weft::deadletter::v1::dead_letter_service_server::DeadLetterService;

use super::status::{invalid, to_status};
use super::{Reply, caller, convert};
use crate::accounts::Accounts;
use crate::invalid::Invalid;
use crate::store::{FailedLetter, FailedQuery};

const QUEUE: &str = "outbox";
const MAX_FILTER_CHARACTERS: usize = 256;
const MAX_REMOVED: usize = 1_000;

#[derive(Clone)]
pub struct Outbox(pub Accounts);

#[tonic::async_trait]
impl DeadLetterService for Outbox {
    async fn store(&self, _: Request<pb::StoreRequest>) -> Reply<pb::StoreResponse> {
        Err(Status::unimplemented("authentication does not store dead letters of other services"))
    }

    async fn list(&self, request: Request<pb::ListRequest>) -> Reply<pb::ListResponse> {
        let caller = caller(request.metadata())?;
        let mut query = query(request.into_inner())?;
        let limit = query.limit as usize;
        // One more than requested, to know whether there is a next page.
        query.limit += 1;
        let mut letters = self.0.failed_letters(caller.as_ref(), &query).await.map_err(to_status)?;
        let more = letters.len() > limit;
        letters.truncate(limit);
        let next = letters.last().filter(|_| more).map(|last| to_cursor(last.failed_at, last.id));
        let items = letters.iter().map(|letter| to_proto(letter, &body(letter))).collect();
        Ok(Response::new(pb::ListResponse { items, next_cursor: next.unwrap_or_default() }))
    }

    async fn get(&self, request: Request<pb::GetRequest>) -> Reply<pb::GetResponse> {
        let caller = caller(request.metadata())?;
        let id = convert::id("id", &request.into_inner().id)?;
        let letter = self.0.failed_letter(caller.as_ref(), id).await.map_err(to_status)?;
        let body = body(&letter);
        let letter = Some(to_proto(&letter, &body));
        Ok(Response::new(pb::GetResponse {
            letter,
            content: Some(pb::Content { properties: Vec::new(), body }),
        }))
    }

    async fn replay(&self, request: Request<pb::ReplayRequest>) -> Reply<pb::ReplayResponse> {
        let caller = caller(request.metadata())?;
        let id = convert::id("id", &request.into_inner().id)?;
        self.0.deliver_again(caller.as_ref(), id).await.map_err(to_status)?;
        Ok(Response::new(pb::ReplayResponse::default()))
    }

    async fn release(&self, _: Request<pb::ReleaseRequest>) -> Reply<pb::ReleaseResponse> {
        Err(Status::unimplemented("authentication delivers its letters itself"))
    }

    async fn remove(&self, request: Request<pb::RemoveRequest>) -> Reply<pb::RemoveResponse> {
        let caller = caller(request.metadata())?;
        let ids = request.into_inner().ids;
        if !(1..=MAX_REMOVED).contains(&ids.len()) {
            return Err(invalid_field("ids", "expected 1 to 1000"));
        }
        let ids = ids.iter().map(|id| convert::id("ids", id)).collect::<Result<Vec<_>, _>>()?;
        let removed = self.0.remove_failed(caller.as_ref(), &ids).await.map_err(to_status)?;
        Ok(Response::new(pb::RemoveResponse { removed: u32::try_from(removed).unwrap_or(u32::MAX) }))
    }
}

fn invalid_field(field: &'static str, reason: &'static str) -> Status {
    invalid(Invalid { field, reason })
}

fn query(request: pb::ListRequest) -> Result<FailedQuery, Status> {
    let pb::ListRequest { filter, limit, cursor } = request;
    let pb::Filter { queue: _, r#type: kind, reason, from, to } = filter.unwrap_or_default();
    let text = |field, text: String| match text.chars().count() {
        0 => Ok(None),
        1..=MAX_FILTER_CHARACTERS if !text.contains('\0') => Ok(Some(text)),
        _ => Err(invalid_field(field, "expected at most 256 characters, none of them NUL")),
    };
    let moment = |field, time: Option<prost_types::Timestamp>| {
        let read = |time: prost_types::Timestamp| Timestamp::new(time.seconds, time.nanos);
        time.map(|time| {
            read(time).map_err(|_| invalid_field(field, "expected a time in the years 1 to 9999"))
        })
        .transpose()
    };
    let after = match cursor.as_str() {
        "" => None,
        cursor => Some(from_cursor(cursor).ok_or_else(|| {
            invalid_field("cursor", "is invalid; expected next_cursor of the previous page")
        })?),
    };
    Ok(FailedQuery {
        recipient: text("type", kind)?,
        reason: text("reason", reason)?,
        from: moment("from", from)?,
        to: moment("to", to)?,
        after,
        limit: convert::limit(limit)?,
    })
}

/// Encodes a place in the list: the time in microseconds, PostgreSQL's resolution, and the id.
fn to_cursor(time: Timestamp, id: Uuid) -> String {
    let time = time.as_microsecond().to_be_bytes();
    URL_SAFE_NO_PAD.encode([&time[..], id.as_bytes()].concat())
}

fn from_cursor(cursor: &str) -> Option<(Timestamp, Uuid)> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (time, id) = bytes.split_first_chunk::<8>()?;
    Some((Timestamp::from_microsecond(i64::from_be_bytes(*time)).ok()?, Uuid::from_slice(id).ok()?))
}

/// The letter's message as JSON.
fn body(letter: &FailedLetter) -> Vec<u8> {
    serde_json::to_vec(&letter.message).unwrap_or_default()
}

fn to_proto(letter: &FailedLetter, body: &[u8]) -> pb::Letter {
    let FailedLetter { id, recipient, message: _, traceparent, created_at, failed_at, reason, attempts } =
        letter;
    let trace_id = traceparent.as_deref().and_then(|parent| parent.split('-').nth(1));
    pb::Letter {
        id: id.to_string(),
        queue: QUEUE.to_owned(),
        event_id: id.to_string(),
        r#type: recipient.clone(),
        source: "authentication".to_owned(),
        time: Some(weft_values::time::to_proto(*created_at)),
        dead_at: Some(weft_values::time::to_proto(*failed_at)),
        reason: reason.clone(),
        attempts: *attempts,
        trace_id: trace_id.unwrap_or_default().to_owned(),
        size: body.len() as u64,
        replaying_since: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_round_trips_and_an_invalid_one_is_rejected() {
        let place = (Timestamp::from_microsecond(-1).unwrap(), Uuid::from_u128(7));
        assert_eq!(from_cursor(&to_cursor(place.0, place.1)), Some(place));
        for invalid in ["", "x", "AAAA", &"A".repeat(200)] {
            assert_eq!(from_cursor(invalid), None, "{invalid}");
        }
    }
}
