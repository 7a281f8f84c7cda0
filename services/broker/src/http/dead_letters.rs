//! `/v1/dead-letters`: the events that nobody could handle, for admins to look at, replay or discard.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use weft_events::{DeadLetterError, Queue};
use weft_mesh::Caller;
use weft_runtime::telemetry::chain;

use super::{query, read_limit};
use crate::app::App;
use crate::reply::{ApiError, Problem};
use crate::signed_in::Admin;
use crate::upstream;

const DEFAULT_LIMIT: u32 = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filters {
    queue: Option<String>,
    limit: Option<String>,
}

/// A queue that has dead letters.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes the name; the events' own type is read")]
enum QueueName {
    #[schema(rename = "listener.log")]
    Log,
    #[schema(rename = "listener.mail")]
    Mail,
}

/// Dead letters, oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadLetters {
    items: Vec<DeadLetter>,
}

/// An event that nobody could handle.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeadLetter {
    /// Whose it was to handle.
    #[schema(value_type = String)]
    queue: &'static str,
    id: String,
    r#type: String,
    /// Empty where the message did not say.
    source: String,
    /// When it happened, where the message says so.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    time: Option<Timestamp>,
    /// JSON, or text where the message's body was none.
    data: Value,
    /// Why it could not be handled; null when somebody else has put it there.
    #[schema(required = true)]
    reason: Option<String>,
    attempts: u32,
}

impl From<weft_events::DeadLetter> for DeadLetter {
    fn from(letter: weft_events::DeadLetter) -> Self {
        let weft_events::DeadLetter { queue, id, kind, source, time, data, reason, attempts } = letter;
        let text = || Value::String(String::from_utf8_lossy(&data).into_owned());
        let data = serde_json::from_slice(&data).unwrap_or_else(|_| text());
        Self { queue: queue.name(), id, r#type: kind, source, time, data, reason, attempts }
    }
}

/// The dead letters of a queue, or of all, oldest first.
#[utoipa::path(get, path = "/v1/dead-letters", operation_id = "list_dead_letters", tag = "dead letters",
    params(
        ("queue" = inline(Option<QueueName>), Query, nullable = false, description = "All, when it is left out"),
        ("limit" = Option<u32>, Query, nullable = false, minimum = 1, maximum = 1000, description = "Of each queue; 100 when it is left out"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The dead letters that came first", body = DeadLetters),
        (status = 400, description = "A field of the query is wrong"),
        (status = 401, description = "Nobody is signed in"),
        (status = 403, description = "The caller is no admin"),
        (status = 503, description = "RabbitMQ can't be reached in time"),
    ))]
pub(super) async fn list(
    State(app): State<App>,
    _caller: Admin,
    uri: Uri,
) -> Result<Json<DeadLetters>, Problem> {
    let filters: Filters = query(&uri)?;
    let limit = filters.limit.as_deref().map(read_limit).transpose()?.unwrap_or(DEFAULT_LIMIT) as usize;
    let queues = match filters.queue.as_deref() {
        None => Queue::ALL.to_vec(),
        Some(name) => vec![queue(name)?],
    };
    let mut items = Vec::new();
    for queue in queues {
        let letters = app.dead_letters.list(queue, limit).await.map_err(|error| failed(&error))?;
        items.extend(letters.into_iter().map(DeadLetter::from));
    }
    Ok(Json(DeadLetters { items }))
}

/// One dead letter.
#[utoipa::path(get, path = "/v1/dead-letters/{queue}/{id}", operation_id = "get_dead_letter", tag = "dead letters",
    params(
        ("queue" = inline(QueueName), Path, description = "Its queue"),
        ("id" = String, Path, min_length = 1, description = "Its id"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The dead letter", body = DeadLetter),
        (status = 400, description = "The queue is none"),
        (status = 401, description = "Nobody is signed in"),
        (status = 403, description = "The caller is no admin"),
        (status = 404, description = "There is no such dead letter"),
        (status = 409, description = "There are more dead letters than are looked at, and the first do not have it"),
        (status = 503, description = "RabbitMQ can't be reached in time"),
    ))]
pub(super) async fn show(
    State(app): State<App>,
    _caller: Admin,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Json<DeadLetter>, Problem> {
    let (queue, id) = read_path(path)?;
    let letter = app.dead_letters.get(queue, &id).await.map_err(|error| failed(&error))?;
    Ok(Json(letter.ok_or_else(gone)?.into()))
}

/// Publishes a dead letter again, as if it had never been tried. Written down before it is done.
#[utoipa::path(post, path = "/v1/dead-letters/{queue}/{id}/replay", operation_id = "replay_dead_letter", tag = "dead letters",
    params(
        ("queue" = inline(QueueName), Path, description = "Its queue"),
        ("id" = String, Path, min_length = 1, description = "Its id"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 202, description = "It is in its queue again"),
        (status = 400, description = "The queue is none"),
        (status = 401, description = "Nobody is signed in"),
        (status = 403, description = "The caller is no admin, or a page of another origin sent it"),
        (status = 404, description = "There is no such dead letter"),
        (status = 409, description = "There are more dead letters than are looked at, and the first do not have it"),
        (status = 502, description = "No queue takes it, or the logger failed"),
        (status = 503, description = "RabbitMQ can't be reached in time, or the logger can't write it down"),
    ))]
pub(super) async fn replay(
    State(app): State<App>,
    Admin(caller): Admin,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let (queue, id) = read_path(path)?;
    audit(&app, &caller, "dead letter replayed", queue, &id).await?;
    match app.dead_letters.replay(queue, &id).await.map_err(|error| failed(&error))? {
        true => Ok(StatusCode::ACCEPTED),
        false => Err(gone().into()),
    }
}

/// Removes a dead letter for good. Written down before it is done.
#[utoipa::path(delete, path = "/v1/dead-letters/{queue}/{id}", operation_id = "discard_dead_letter", tag = "dead letters",
    params(
        ("queue" = inline(QueueName), Path, description = "Its queue"),
        ("id" = String, Path, min_length = 1, description = "Its id"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "It is gone"),
        (status = 400, description = "The queue is none"),
        (status = 401, description = "Nobody is signed in"),
        (status = 403, description = "The caller is no admin, or a page of another origin sent it"),
        (status = 404, description = "There is no such dead letter"),
        (status = 409, description = "There are more dead letters than are looked at, and the first do not have it"),
        (status = 502, description = "The logger failed"),
        (status = 503, description = "RabbitMQ can't be reached in time, or the logger can't write it down"),
    ))]
pub(super) async fn discard(
    State(app): State<App>,
    Admin(caller): Admin,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let (queue, id) = read_path(path)?;
    audit(&app, &caller, "dead letter discarded", queue, &id).await?;
    match app.dead_letters.discard(queue, &id).await.map_err(|error| failed(&error))? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(gone().into()),
    }
}

/// Only what is there is written down, and nothing is done that could not be written down.
async fn audit(app: &App, caller: &Caller, name: &str, queue: Queue, id: &str) -> Result<(), ApiError> {
    let letter = app.dead_letters.get(queue, id).await.map_err(|error| failed(&error))?;
    let letter = letter.ok_or_else(gone)?;
    app.audit(name, [("user", &caller.user), ("queue", queue.name()), ("id", id), ("type", &letter.kind)])
        .await
}

fn read_path(path: Result<Path<(String, String)>, PathRejection>) -> Result<(Queue, String), ApiError> {
    let Path((name, id)) = path.map_err(|error| ApiError::bad_request(error.body_text()))?;
    Ok((queue(&name)?, id))
}

fn queue(name: &str) -> Result<Queue, ApiError> {
    Queue::ALL.into_iter().find(|queue| queue.name() == name).ok_or_else(|| {
        let names = Queue::ALL.map(Queue::name).join(" and ");
        ApiError::bad_request(format!("there is no queue of this name: there are {names}"))
    })
}

fn gone() -> ApiError {
    ApiError::not_found("there is no such dead letter: it may have been replayed or discarded")
}

fn failed(error: &DeadLetterError) -> ApiError {
    match error {
        DeadLetterError::Publish(error) => upstream::events(error),
        DeadLetterError::Beyond { .. } => ApiError::new(StatusCode::CONFLICT, error.to_string()),
        _ => {
            tracing::warn!(reason = chain(error), "the dead letters could not be reached");
            let said = "the dead letters can't be reached in time; look at them again before you repeat this";
            ApiError::unavailable(said, upstream::RETRY_AFTER)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(data: &[u8]) -> DeadLetter {
        weft_events::DeadLetter {
            queue: Queue::Mail,
            id: "1".into(),
            kind: "mail.send".into(),
            source: String::new(),
            time: None,
            data: data.to_vec(),
            reason: None,
            attempts: 3,
        }
        .into()
    }

    #[test]
    fn a_body_that_is_no_json_is_shown_as_text() {
        assert_eq!(letter(br#"{"to":"x"}"#).data, serde_json::json!({"to": "x"}));
        assert_eq!(letter(b"{\"to\":").data, "{\"to\":");
        assert_eq!(letter(b"\xff").data, "\u{fffd}");
    }

    #[test]
    fn only_queues_of_ours_have_a_name() {
        assert_eq!(queue("listener.mail"), Ok(Queue::Mail));
        assert!(
            queue("listener.log.retry.1s").unwrap_err().message.contains("listener.log and listener.mail")
        );
    }
}
