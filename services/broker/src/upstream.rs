//! What other services and RabbitMQ answer, as the caller sees it: the one place that makes it an HTTP status.

use std::time::Duration;

use axum::http::StatusCode;
use tonic::{Code, Status};
use weft_events::PublishError;
use weft_runtime::telemetry::chain;

use crate::reply::ApiError;

/// After how long a caller may try again when something is away.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A gRPC status of the logger. Details stay inside: they are logged here, once, with the trace's id.
pub(crate) fn logger(status: &Status) -> ApiError {
    match status.code() {
        Code::InvalidArgument | Code::OutOfRange => ApiError::bad_request(status.message()),
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Cancelled => {
            tracing::warn!(code = ?status.code(), reason = status.message(), "the logger could not be used in time");
            ApiError::unavailable(
                "the logger can't be reached in time; nothing was acknowledged",
                RETRY_AFTER,
            )
        }
        _ => {
            tracing::error!(code = ?status.code(), reason = status.message(), "the logger failed");
            ApiError::new(StatusCode::BAD_GATEWAY, "the logger failed; its logs have this trace's id")
        }
    }
}

/// A publication that RabbitMQ did not confirm.
pub(crate) fn events(error: &PublishError) -> ApiError {
    tracing::warn!(reason = chain(error), "an event was not confirmed");
    match error {
        PublishError::Unroutable { .. } => ApiError::new(
            StatusCode::BAD_GATEWAY,
            "no queue takes events of this type; the event was not accepted",
        ),
        _ => {
            ApiError::unavailable("RabbitMQ can't be reached in time; nothing was acknowledged", RETRY_AFTER)
        }
    }
}
