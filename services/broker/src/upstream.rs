//! What other services and RabbitMQ answer, as the caller sees it: the one place that makes it an HTTP status.
//!
//! Details stay inside: they are logged here, once, with the trace's id.

use std::time::Duration;

use axum::http::StatusCode;
use tonic::{Code, Status};
use weft_events::PublishError;
use weft_runtime::telemetry::chain;

use crate::idempotency;
use crate::reply::ApiError;

/// After how long a caller may try again when something is away.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Seconds to wait, in the metadata of RESOURCE_EXHAUSTED.
const RETRY_AFTER_METADATA: &str = "retry-after";

/// A gRPC status of the logger.
pub(crate) fn logger(status: &Status) -> ApiError {
    match status.code() {
        Code::InvalidArgument | Code::OutOfRange => ApiError::bad_request(status.message().to_owned()),
        // Only an id that derives from an idempotency key can have been used before.
        Code::AlreadyExists => idempotency::conflict(),
        Code::ResourceExhausted => away("logger", status),
        _ => failure("logger", status),
    }
}

/// A gRPC status of the logger for a search.
pub(crate) fn search(status: &Status) -> ApiError {
    match status.code() {
        Code::DeadlineExceeded => {
            tracing::warn!(reason = status.message(), "a search did not end in time");
            ApiError::new(
                StatusCode::GATEWAY_TIMEOUT,
                "the logger did not finish the search in time; narrow it by time (`from`, `to`) or by `service`",
            )
        }
        Code::ResourceExhausted => {
            tracing::warn!(reason = status.message(), "a search was refused");
            let message = "too many searches are running; try again as late as Retry-After says";
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, message).after(RETRY_AFTER)
        }
        _ => logger(status),
    }
}

/// A gRPC status of authentication.
pub(crate) fn authentication(status: &Status) -> ApiError {
    let said = || status.message().to_owned();
    match status.code() {
        Code::InvalidArgument | Code::OutOfRange => ApiError::bad_request(said()),
        Code::Unauthenticated => {
            ApiError::invalid_token("the session has ended: sign in again to get a new access token")
        }
        Code::PermissionDenied => ApiError::new(StatusCode::FORBIDDEN, said()),
        Code::NotFound => ApiError::not_found(said()),
        Code::AlreadyExists | Code::FailedPrecondition => ApiError::new(StatusCode::CONFLICT, said()),
        Code::ResourceExhausted => ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many attempts: wait as long as Retry-After says, then try again",
        )
        .after(wait(status).unwrap_or(RETRY_AFTER)),
        _ => failure("authentication", status),
    }
}

/// What authentication answered to a refresh token or a password, about which it says no more than no.
pub(crate) fn credentials(status: &Status, refused: &'static str) -> ApiError {
    if status.code() == Code::Unauthenticated {
        return ApiError::unauthorized(refused);
    }
    authentication(status)
}

fn wait(status: &Status) -> Option<Duration> {
    let seconds = status.metadata().get(RETRY_AFTER_METADATA)?.to_str().ok()?;
    seconds.parse().ok().map(Duration::from_secs)
}

fn failure(service: &'static str, status: &Status) -> ApiError {
    if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled) {
        return away(service, status);
    }
    tracing::error!(service, code = ?status.code(), reason = status.message(), "another service failed");
    ApiError::new(StatusCode::BAD_GATEWAY, format!("the {service} failed; its logs have this trace's id"))
}

fn away(service: &'static str, status: &Status) -> ApiError {
    tracing::warn!(service, code = ?status.code(), reason = status.message(), "another service could not be used in time");
    let message = match service {
        "logger" => "the logger can't be reached in time; nothing was acknowledged",
        _ => "authentication can't be reached in time; try again",
    };
    ApiError::unavailable(message, RETRY_AFTER)
}

/// A reply that breaks its own interface.
pub(crate) fn nonsense(service: &'static str, field: &'static str) -> ApiError {
    tracing::error!(service, field, "another service's reply lacks a field or has a wrong one");
    ApiError::new(StatusCode::BAD_GATEWAY, format!("the {service} failed; its logs have this trace's id"))
}

/// A publication that RabbitMQ did not confirm.
pub(crate) fn events(error: &PublishError) -> ApiError {
    tracing::warn!(reason = chain(error), "an event was not confirmed");
    match error {
        PublishError::Unroutable { .. } => ApiError::new(
            StatusCode::BAD_GATEWAY,
            "no queue is bound for this type of event; the event was not accepted",
        ),
        PublishError::Malformed => ApiError::new(
            StatusCode::BAD_GATEWAY,
            "the stored dead letter can't be read, so its event was not published: discard it",
        ),
        _ => {
            ApiError::unavailable("RabbitMQ can't be reached in time; nothing was acknowledged", RETRY_AFTER)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_attempts_are_429_with_the_time_that_authentication_says() {
        let mut status = Status::resource_exhausted("internal words");
        status.metadata_mut().insert(RETRY_AFTER_METADATA, "17".parse().unwrap());
        let error = authentication(&status);
        assert_eq!((error.status.as_u16(), error.retry_after), (429, Some(Duration::from_secs(17))));
        assert!(!error.message.contains("internal"));
        assert_eq!(authentication(&Status::resource_exhausted("")).retry_after, Some(RETRY_AFTER));
    }

    #[test]
    fn what_is_away_is_503_and_what_fails_is_502_and_neither_shows_its_inside() {
        for (code, status) in [(Code::Unavailable, 503), (Code::DeadlineExceeded, 503), (Code::Internal, 502)]
        {
            for error in
                [logger(&Status::new(code, "10.0.0.1")), authentication(&Status::new(code, "10.0.0.1"))]
            {
                assert_eq!(error.status.as_u16(), status, "{code:?}");
                assert!(!error.message.contains("10.0.0.1"));
                assert_eq!(error.retry_after.is_some(), status == 503);
            }
        }
    }

    #[test]
    fn a_search_that_takes_too_long_is_504_and_says_how_to_narrow_it() {
        let error = search(&Status::deadline_exceeded("10.0.0.1"));
        assert_eq!((error.status.as_u16(), error.retry_after), (504, None));
        assert!(error.message.contains("`from`") && error.message.contains("`service`"), "{}", error.message);
        assert!(!error.message.contains("10.0.0.1"));
        let error = search(&Status::resource_exhausted("10.0.0.1"));
        assert_eq!((error.status.as_u16(), error.retry_after), (429, Some(RETRY_AFTER)));
        for (code, status) in [(Code::Unavailable, 503), (Code::Internal, 502), (Code::InvalidArgument, 400)]
        {
            assert_eq!(search(&Status::new(code, "x")).status.as_u16(), status, "{code:?}");
        }
    }

    #[test]
    fn a_refused_password_is_401_in_the_caller_s_words() {
        let error = credentials(&Status::unauthenticated("no such user"), "invalid credentials");
        assert_eq!((error.status.as_u16(), &*error.message), (401, "invalid credentials"));
    }
}
