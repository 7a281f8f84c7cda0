//! Calls to other services on behalf of a caller. Converts errors of other services and of RabbitMQ to HTTP statuses; this is the only
//! place that does so.
//!
//! Details are not sent to the client. They are logged here, once, with the trace id.

use std::time::Duration;

use axum::http::StatusCode;
use tonic::{Code, Request, Status};
use weft_events::PublishError;
use weft_mesh::{Caller, Channel};
use weft_proto::weft::auth::v1::auth_service_client::AuthServiceClient;
use weft_runtime::telemetry::chain;

use crate::idempotency;
use crate::reply::ApiError;
use crate::token::Refused;

pub(crate) type AuthClient = AuthServiceClient<Channel>;

/// `Retry-After` when a service is unavailable.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Seconds to wait, in the metadata of RESOURCE_EXHAUSTED.
const RETRY_AFTER_METADATA: &str = "retry-after";

/// A gRPC request on behalf of the caller.
///
/// # Errors
/// 401 when the caller's ids are not valid as metadata, which can't happen for a verified token.
pub(crate) fn on_behalf<T>(caller: &Caller, message: T) -> Result<Request<T>, ApiError> {
    let mut request = Request::new(message);
    let written = caller.to_metadata(request.metadata_mut());
    written.map_err(|_| Refused("its ids are not valid as metadata"))?;
    Ok(request)
}

/// Converts a gRPC status of the logger.
pub(crate) fn logger(status: &Status) -> ApiError {
    match status.code() {
        Code::InvalidArgument | Code::OutOfRange => ApiError::bad_request(status.message().to_owned()),
        // Only an id that derives from an idempotency key can exist already.
        Code::AlreadyExists => idempotency::conflict(),
        Code::ResourceExhausted => unavailable("logger", status),
        _ => failure("logger", status),
    }
}

/// Converts a gRPC status of the logger for a search.
pub(crate) fn search(status: &Status) -> ApiError {
    match status.code() {
        Code::DeadlineExceeded => {
            tracing::warn!(reason = status.message(), "a search timed out");
            ApiError::new(
                StatusCode::GATEWAY_TIMEOUT,
                "the logger did not finish the search in time; narrow it by time (`from`, `to`) or by `service`",
            )
        }
        Code::ResourceExhausted => {
            tracing::warn!(reason = status.message(), "a search was refused");
            let message = "too many searches are running; try again after the time in Retry-After";
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, message).after(RETRY_AFTER)
        }
        _ => logger(status),
    }
}

/// Converts a gRPC status of authentication.
pub(crate) fn authentication(status: &Status) -> ApiError {
    let message = || status.message().to_owned();
    match status.code() {
        Code::InvalidArgument | Code::OutOfRange => ApiError::bad_request(message()),
        Code::Unauthenticated => {
            ApiError::invalid_token("the session has ended: sign in again to get a new access token")
        }
        Code::PermissionDenied => ApiError::new(StatusCode::FORBIDDEN, message()),
        Code::NotFound => ApiError::not_found(message()),
        Code::AlreadyExists | Code::FailedPrecondition => ApiError::new(StatusCode::CONFLICT, message()),
        Code::ResourceExhausted => {
            let refused = |message, wait| ApiError::new(StatusCode::TOO_MANY_REQUESTS, message).after(wait);
            match wait(status) {
                Some(wait) => refused(message(), wait),
                // From the transport, not from authentication.
                None => refused(
                    "too many requests to authentication; try again after the time in Retry-After".to_owned(),
                    RETRY_AFTER,
                ),
            }
        }
        _ => failure("authentication", status),
    }
}

/// Converts a gRPC status of authentication for a password or a refresh token. UNAUTHENTICATED becomes 401 with this message, without
/// details.
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
        return unavailable(service, status).uncertain();
    }
    tracing::error!(service, code = ?status.code(), reason = status.message(), "a call to another service failed");
    ApiError::new(
        StatusCode::BAD_GATEWAY,
        format!("{service} failed; find the reason in its log by the trace id"),
    )
}

fn unavailable(service: &'static str, status: &Status) -> ApiError {
    tracing::warn!(service, code = ?status.code(), reason = status.message(), "another service is unavailable");
    let message = match service {
        "logger" => "the logger can't be reached in time; nothing was acknowledged",
        _ => "authentication can't be reached in time; try again",
    };
    ApiError::unavailable(message, RETRY_AFTER)
}

/// The error for a reply that lacks a field or has an invalid one.
pub(crate) fn invalid_reply(service: &'static str, field: &'static str) -> ApiError {
    tracing::error!(service, field, "the reply of another service has a missing or invalid field");
    ApiError::new(
        StatusCode::BAD_GATEWAY,
        format!("{service} failed; find the reason in its log by the trace id"),
    )
}

/// Converts the error of an event that RabbitMQ did not confirm.
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
            let refused = ApiError::unavailable(
                "RabbitMQ can't be reached in time; nothing was acknowledged",
                RETRY_AFTER,
            );
            if matches!(error, PublishError::Unconfirmed { .. }) { refused.uncertain() } else { refused }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_of_authentication_is_429_with_its_reason_and_wait() {
        for reason in ["too many attempts", "too many passwords are being processed"] {
            let mut status = Status::resource_exhausted(reason);
            status.metadata_mut().insert(RETRY_AFTER_METADATA, "17".parse().unwrap());
            let error = authentication(&status);
            assert_eq!((error.status.as_u16(), error.retry_after), (429, Some(Duration::from_secs(17))));
            assert_eq!(error.message, reason);
        }
        let error = authentication(&Status::resource_exhausted("internal words"));
        assert_eq!((error.status.as_u16(), error.retry_after), (429, Some(RETRY_AFTER)));
        assert!(!error.message.contains("internal"));
    }

    #[test]
    fn unavailable_is_503_and_failure_is_502_both_without_details() {
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
    fn a_search_that_times_out_is_504_and_says_how_to_narrow_it() {
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
    fn a_refused_password_is_401_without_details() {
        let error = credentials(&Status::unauthenticated("no such user"), "invalid credentials");
        assert_eq!((error.status.as_u16(), &*error.message), (401, "invalid credentials"));
    }
}
