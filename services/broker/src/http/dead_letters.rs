//! `/v1/dead-letters`: events that could not be handled. Viewers list dead letters without bodies; admins also read the bodies,
//! and replay or discard dead letters.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;
use uuid::Uuid;
use weft_mesh::Caller;
use weft_proto::weft::deadletter::v1::{self as proto, Filter, ListRequest};
use weft_runtime::task;

use super::logs::read_time;
use super::{query, read_limit};
use crate::letters::{DeadLetters, Origin, not_found};
use crate::reply::{ApiError, Problem};
use crate::signed_in::{Admin, Viewer};

/// Upper bound on dead letters that one call by filter replays or discards.
const BATCH: u32 = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filters {
    queue: Option<String>,
    r#type: Option<String>,
    reason: Option<String>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// A queue that has dead letters.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only for the OpenAPI description; values are parsed as an `Origin`")]
enum QueueName {
    #[schema(rename = "listener.log")]
    Log,
    #[schema(rename = "listener.mail")]
    Mail,
    #[schema(rename = "outbox")]
    Outbox,
}

/// Dead letters, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetters)]
pub(super) struct Page {
    items: Vec<DeadLetter>,
    /// Null on the last page.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// An event that could not be handled, without its body.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadLetter {
    /// The queue whose consumer could not handle the event.
    queue: String,
    /// The id of the dead letter.
    id: String,
    /// The id of the event; null when it has none.
    #[schema(required = true)]
    event_id: Option<String>,
    r#type: String,
    /// The event's source; empty when the message has none.
    source: String,
    /// The event's time; null when the message has none.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    time: Option<Timestamp>,
    /// When the event became a dead letter.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    dead_at: Option<Timestamp>,
    /// Why the event could not be handled; null when unknown.
    #[schema(required = true)]
    reason: Option<String>,
    attempts: u32,
    #[schema(required = true)]
    trace_id: Option<String>,
    /// Size of the body in bytes.
    size: u64,
    /// When the last replay started; null when the dead letter was never replayed.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    replaying_since: Option<Timestamp>,
}

/// A dead letter with its body.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadLetterWithData {
    #[serde(flatten)]
    letter: DeadLetter,
    /// The body as JSON, or as text if it is not JSON.
    #[schema(value_type = serde_json::Value)]
    data: Box<RawValue>,
}

/// The result of a call by filter.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Batch {
    /// Number of dead letters that were replayed or discarded.
    count: u32,
    /// True when more dead letters match: repeat the call.
    more: bool,
}

impl From<proto::Letter> for DeadLetter {
    fn from(letter: proto::Letter) -> Self {
        let proto::Letter {
            id,
            queue,
            event_id,
            r#type,
            source,
            time,
            dead_at,
            reason,
            attempts,
            trace_id,
            size,
            replaying_since,
        } = letter;
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        let time_of = |time: Option<prost_types::Timestamp>| {
            time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok())
        };
        Self {
            queue,
            id,
            event_id: text(event_id),
            r#type,
            source,
            time: time_of(time),
            dead_at: time_of(dead_at),
            reason: text(reason),
            attempts,
            trace_id: text(trace_id),
            size,
            replaying_since: time_of(replaying_since),
        }
    }
}

/// Dead letters, oldest first, without their bodies.
#[utoipa::path(get, path = "/v1/dead-letters", operation_id = "list_dead_letters", tag = "dead letters",
    params(
        ("queue" = inline(Option<QueueName>), Query, nullable = false, description = "Only this queue. Default: all queues of RabbitMQ"),
        ("type" = Option<String>, Query, nullable = false, max_length = 256, description = "Only this type"),
        ("reason" = Option<String>, Query, nullable = false, max_length = 256, description = "Only reasons that contain this text"),
        ("from" = Option<String>, Query, nullable = false, format = DateTime, description = "Dead-lettered at or after this time"),
        ("to" = Option<String>, Query, nullable = false, format = DateTime, description = "Dead-lettered before this time"),
        ("limit" = Option<u32>, Query, nullable = false, minimum = 1, maximum = 1000, description = "Default: 100"),
        ("cursor" = Option<String>, Query, nullable = false, description = "`next_cursor` of the previous page"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page", body = Page),
        (status = 400, description = "A field of the query is invalid"),
        (status = 403, description = "The caller is neither a viewer nor an admin"),
    ))]
pub(super) async fn list(
    State(letters): State<Arc<DeadLetters>>,
    Viewer(caller): Viewer,
    uri: Uri,
) -> Result<Json<Page>, Problem> {
    let (origin, request) = query::<Filters>(&uri)?.into_request()?;
    let page = letters.list(&caller, origin, request).await?;
    Ok(Json(Page {
        items: page.items.into_iter().map(DeadLetter::from).collect(),
        next_cursor: Some(page.next_cursor).filter(|cursor| !cursor.is_empty()),
    }))
}

/// One dead letter with its body.
#[utoipa::path(get, path = "/v1/dead-letters/{queue}/{id}", operation_id = "get_dead_letter", tag = "dead letters",
    params(
        ("queue" = inline(QueueName), Path, description = "The dead letter's queue"),
        ("id" = String, Path, min_length = 1, description = "The dead letter's id"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The dead letter", body = DeadLetterWithData),
        (status = 400, description = "The queue is invalid"),
        (status = 403, description = "The caller is not an admin"),
        (status = 404, description = "Dead letter not found"),
    ))]
pub(super) async fn show(
    State(letters): State<Arc<DeadLetters>>,
    Admin(caller): Admin,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<DeadLetterWithData>, Problem> {
    let (origin, id) = read_path(path)?;
    let (letter, content) = letters.get(&caller, origin, id).await?;
    Ok(Json(DeadLetterWithData { letter: letter.into(), data: to_json(content.body)? }))
}

/// Publishes the event of a dead letter again, with all of its attempts. An audit record is stored first.
#[utoipa::path(post, path = "/v1/dead-letters/{queue}/{id}/replay", operation_id = "replay_dead_letter", tag = "dead letters",
    params(
        ("queue" = inline(QueueName), Path, description = "The dead letter's queue"),
        ("id" = String, Path, min_length = 1, description = "The dead letter's id"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 202, description = "The event is back in its queue"),
        (status = 400, description = "The queue is invalid"),
        (status = 403, description = "The caller is not an admin, or a page of another origin sent it"),
        (status = 404, description = "Dead letter not found"),
        (status = 502, description = "The event can't be published, or the logger or authentication failed"),
        (status = 503, description = "RabbitMQ, the logger or authentication can't be reached in time"),
    ))]
pub(super) async fn replay(
    State(letters): State<Arc<DeadLetters>>,
    Admin(caller): Admin,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let (origin, id) = read_path(path)?;
    let (letter, _) = letters.get(&caller, origin, id).await?;
    // A client that disconnects must not stop a replay halfway: the event would be published and its dead letter still listed.
    task::finish(async move { letters.replay(&caller, origin, &letter).await }).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Deletes a dead letter permanently. An audit record is stored first.
#[utoipa::path(delete, path = "/v1/dead-letters/{queue}/{id}", operation_id = "discard_dead_letter", tag = "dead letters",
    params(
        ("queue" = inline(QueueName), Path, description = "The dead letter's queue"),
        ("id" = String, Path, min_length = 1, description = "The dead letter's id"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "Deleted"),
        (status = 400, description = "The queue is invalid"),
        (status = 403, description = "The caller is not an admin, or a page of another origin sent it"),
        (status = 404, description = "Dead letter not found"),
    ))]
pub(super) async fn discard(
    State(letters): State<Arc<DeadLetters>>,
    Admin(caller): Admin,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let (origin, id) = read_path(path)?;
    let (letter, _) = letters.get(&caller, origin, id).await?;
    match letters.discard(&caller, origin, &[letter]).await? {
        0 => Err(not_found().into()),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

/// Replays the oldest matching dead letters, at most 100.
#[utoipa::path(post, path = "/v1/dead-letters/replay", operation_id = "replay_dead_letters", tag = "dead letters",
    params(
        ("queue" = inline(QueueName), Query, description = "Only this queue"),
        ("type" = Option<String>, Query, nullable = false, max_length = 256, description = "Only this type"),
        ("reason" = Option<String>, Query, nullable = false, max_length = 256, description = "Only reasons that contain this text"),
        ("from" = Option<String>, Query, nullable = false, format = DateTime, description = "Dead-lettered at or after this time"),
        ("to" = Option<String>, Query, nullable = false, format = DateTime, description = "Dead-lettered before this time"),
        ("limit" = Option<u32>, Query, nullable = false, minimum = 1, maximum = 100, description = "Default: 100"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "How many were replayed", body = Batch),
        (status = 400, description = "A field of the query is invalid"),
        (status = 403, description = "The caller is not an admin, or a page of another origin sent it"),
        (status = 502, description = "An event can't be published, or the logger or authentication failed; some may have been replayed"),
        (status = 503, description = "RabbitMQ, the logger or authentication can't be reached in time; some may have been replayed"),
    ))]
pub(super) async fn replay_matching(
    State(letters): State<Arc<DeadLetters>>,
    Admin(caller): Admin,
    uri: Uri,
) -> Result<Json<Batch>, Problem> {
    let (origin, found, more) = matching(&letters, &caller, &uri).await?;
    let count = task::finish(async move {
        let mut count = 0;
        for letter in &found {
            match letters.replay(&caller, origin, letter).await {
                Ok(()) => count += 1,
                // Replayed or discarded by another call in the meantime.
                Err(error) if error.status == StatusCode::NOT_FOUND => {}
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    })
    .await?;
    Ok(Json(Batch { count, more }))
}

/// Deletes the oldest matching dead letters permanently, at most 100.
#[utoipa::path(delete, path = "/v1/dead-letters", operation_id = "discard_dead_letters", tag = "dead letters",
    params(
        ("queue" = inline(QueueName), Query, description = "Only this queue"),
        ("type" = Option<String>, Query, nullable = false, max_length = 256, description = "Only this type"),
        ("reason" = Option<String>, Query, nullable = false, max_length = 256, description = "Only reasons that contain this text"),
        ("from" = Option<String>, Query, nullable = false, format = DateTime, description = "Dead-lettered at or after this time"),
        ("to" = Option<String>, Query, nullable = false, format = DateTime, description = "Dead-lettered before this time"),
        ("limit" = Option<u32>, Query, nullable = false, minimum = 1, maximum = 100, description = "Default: 100"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "How many were discarded", body = Batch),
        (status = 400, description = "A field of the query is invalid"),
        (status = 403, description = "The caller is not an admin, or a page of another origin sent it"),
    ))]
pub(super) async fn discard_matching(
    State(letters): State<Arc<DeadLetters>>,
    Admin(caller): Admin,
    uri: Uri,
) -> Result<Json<Batch>, Problem> {
    let (origin, found, more) = matching(&letters, &caller, &uri).await?;
    let count = letters.discard(&caller, origin, &found).await?;
    Ok(Json(Batch { count, more }))
}

/// The dead letters that a call by filter applies to, and whether more match.
async fn matching(
    letters: &DeadLetters,
    caller: &Caller,
    uri: &Uri,
) -> Result<(Origin, Vec<proto::Letter>, bool), ApiError> {
    let filters: Filters = query(uri)?;
    if filters.cursor.is_some() {
        return Err(ApiError::bad_request("cursor: not allowed here; repeat the call while `more` is true"));
    }
    let (origin, mut request) = filters.into_request()?;
    let origin =
        origin.ok_or_else(|| ApiError::bad_request("queue: missing; a call by filter requires a queue"))?;
    if request.limit > BATCH {
        return Err(ApiError::bad_request(format!(
            "limit: invalid value `{}`: expected 1 to {BATCH}",
            request.limit
        )));
    }
    request.limit = if request.limit == 0 { BATCH } else { request.limit };
    let page = letters.list(caller, Some(origin), request).await?;
    Ok((origin, page.items, !page.next_cursor.is_empty()))
}

fn read_path(path: Result<Path<(String, String)>, PathRejection>) -> Result<(Origin, Uuid), ApiError> {
    let Path((name, id)) = path.map_err(|error| ApiError::bad_request(error.body_text()))?;
    Ok((name.parse()?, id.parse().map_err(|_| not_found())?))
}

/// Returns the body unchanged if it is JSON, otherwise as a JSON string. Does not build a tree of values, because a body may have
/// millions of them.
fn to_json(body: Vec<u8>) -> Result<Box<RawValue>, ApiError> {
    let body = match String::from_utf8(body) {
        Ok(text) => match serde_json::from_str::<Box<RawValue>>(&text) {
            Ok(json) => return Ok(json),
            Err(_) => text,
        },
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    to_raw_value(&body)
        .map_err(|_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "failed to write the body as JSON"))
}

impl Filters {
    fn into_request(self) -> Result<(Option<Origin>, ListRequest), ApiError> {
        let Self { queue, r#type, reason, from, to, limit, cursor } = self;
        let origin = queue.as_deref().map(str::parse::<Origin>).transpose()?;
        let filter = Filter {
            queue: origin.map(Origin::name).unwrap_or_default().to_owned(),
            r#type: r#type.unwrap_or_default(),
            reason: reason.unwrap_or_default(),
            from: from.as_deref().map(|value| read_time("from", value)).transpose()?,
            to: to.as_deref().map(|value| read_time("to", value)).transpose()?,
        };
        let limit = limit.as_deref().map(read_limit).transpose()?.unwrap_or_default();
        Ok((origin, ListRequest { filter: Some(filter), limit, cursor: cursor.unwrap_or_default() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_a_body_that_is_not_json_as_text() {
        let shown = |body: &[u8]| to_json(body.to_vec()).unwrap().get().to_owned();
        assert_eq!(shown(br#"{"to":1e999}"#), r#"{"to":1e999}"#);
        assert_eq!(shown(b"{\"to\":"), r#""{\"to\":""#);
        assert_eq!(shown(b"\xff"), "\"\u{fffd}\"");
        assert_eq!(shown(b""), r#""""#);
    }
}
