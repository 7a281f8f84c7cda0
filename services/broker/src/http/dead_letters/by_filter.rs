//! Dead letters by filter: lists, replays and discards them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weft_mesh::Caller;
use weft_proto::weft::deadletter::v1::{Filter, Letter, ListRequest};
use weft_runtime::task;

use super::QueueName;
use super::shown::DeadLetter;
use crate::http::logs::read_time;
use crate::http::{query, read_limit};
use crate::letters::{DeadLetters, Origin};
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

/// Dead letters, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeadLetters)]
pub(in crate::http) struct Page {
    items: Vec<DeadLetter>,
    /// Null on the last page.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// The result of a call by filter.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct Batch {
    /// Number of dead letters that were replayed or discarded.
    count: u32,
    /// True when more dead letters match: repeat the call.
    more: bool,
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
pub(in crate::http) async fn list(
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

/// Replays the oldest matching dead letters, at most 100. Those that another call is replaying are skipped.
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
pub(in crate::http) async fn replay(
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
                // Replayed or discarded by another call in the meantime, or being replayed.
                Err(error) if matches!(error.status, StatusCode::NOT_FOUND | StatusCode::CONFLICT) => {}
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
pub(in crate::http) async fn discard(
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
) -> Result<(Origin, Vec<Letter>, bool), ApiError> {
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
