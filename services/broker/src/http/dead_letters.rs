//! `/v1/dead-letters`: events that could not be handled. Viewers list dead letters without bodies; admins also read the bodies,
//! and replay or discard dead letters.

pub(super) mod by_filter;
mod shown;

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use utoipa::ToSchema;
use uuid::Uuid;
use weft_runtime::task;

use self::shown::DeadLetterWithData;
use crate::letters::{DeadLetters, Origin, not_found};
use crate::reply::{ApiError, Problem};
use crate::signed_in::Admin;

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
    Ok(Json(DeadLetterWithData::new(letter, content.body)?))
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
        (status = 409, description = "Another replay of this dead letter is running, or was interrupted less than 60 s ago"),
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

fn read_path(path: Result<Path<(String, String)>, PathRejection>) -> Result<(Origin, Uuid), ApiError> {
    let Path((name, id)) = path.map_err(|error| ApiError::bad_request(error.body_text()))?;
    Ok((name.parse()?, id.parse().map_err(|_| not_found())?))
}
