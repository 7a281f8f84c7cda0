//! Maps the logger's errors to gRPC statuses. Internal causes are not sent to callers; they are logged where they occur.

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::group::WriteError;
use crate::store::{QueryError, StoreError};
use crate::validate::Invalid;

/// gRPC's metadata key for a delay before the next attempt, in milliseconds (proposal A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";
const PUSHBACK_MS: &str = "1000";

pub(super) fn invalid(error: Invalid) -> Status {
    Status::invalid_argument(error.to_string())
}

pub(super) fn conflict() -> Status {
    Status::already_exists(
        "an entry with this id and other content already exists; use a new id for another entry",
    )
}

pub(super) fn unwritten(error: WriteError) -> Status {
    match error {
        WriteError::Full => later(
            "too many entries are waiting for the store; nothing was stored; try again later".to_owned(),
        ),
        WriteError::Ending => later("this logger is shutting down; nothing was stored; try again".to_owned()),
        WriteError::Store(error) => unstored(error, "the entry may be stored; try again with the same id"),
    }
}

pub(super) fn unread(error: QueryError) -> Status {
    match error {
        QueryError::Busy => {
            tracing::warn!(error = &error as &dyn std::error::Error, "refused a search");
            pushback(Code::ResourceExhausted, format!("{error}; try again later"))
        }
        QueryError::Store(error @ StoreError::TimedOut(within)) => {
            report(&error);
            Status::deadline_exceeded(format!(
                "the search timed out after {} ms; narrow it by `from` and `to` or by `service`",
                within.as_millis()
            ))
        }
        QueryError::Store(error) => failed(error),
    }
}

/// Status of a failed query or call for dead letters, which can be repeated.
pub(super) fn failed(error: StoreError) -> Status {
    report(&error);
    unstored(error, "try again")
}

/// Logs a failure. Failures of writes are logged with their group instead.
fn report(error: &StoreError) {
    let reason = error as &dyn std::error::Error;
    match error {
        StoreError::Failed(_) | StoreError::Unauthorized(..) => {
            tracing::error!(error = reason, "failed to query the store");
        }
        _ => tracing::warn!(error = reason, "failed to query the store"),
    }
}

fn unstored(error: StoreError, then: &str) -> Status {
    match error {
        StoreError::Unavailable(_) | StoreError::TimedOut(_) => later(format!("{error}; {then}")),
        // UNAVAILABLE, because the call is valid: the cluster's operator has to fix the credentials.
        StoreError::Unauthorized(..) => later("the store refuses the logger's credentials".to_owned()),
        StoreError::Failed(_) => {
            Status::internal("the store failed; the logger's log has the reason, by trace id")
        }
    }
}

fn later(message: String) -> Status {
    pushback(Code::Unavailable, message)
}

fn pushback(code: Code, message: String) -> Status {
    let mut status = Status::new(code, message);
    status.metadata_mut().insert(PUSHBACK, MetadataValue::from_static(PUSHBACK_MS));
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Cause;

    #[test]
    fn a_temporary_failure_is_unavailable_with_a_retry_delay() {
        let cause = || Cause::new("secret host");
        for error in [
            WriteError::Full,
            WriteError::Ending,
            StoreError::Unavailable(cause()).into(),
            StoreError::TimedOut(std::time::Duration::from_secs(5)).into(),
            StoreError::Unauthorized("MONGODB_URI", cause()).into(),
        ] {
            let status = unwritten(error);
            assert_eq!(status.code(), Code::Unavailable);
            assert_eq!(status.metadata().get(PUSHBACK).unwrap(), PUSHBACK_MS);
            assert!(!status.message().contains("secret"), "{status}");
        }
    }

    #[test]
    fn distinguishes_a_slow_search_from_an_unavailable_store() {
        let late = unread(StoreError::TimedOut(std::time::Duration::from_secs(2)).into());
        assert_eq!(late.code(), Code::DeadlineExceeded);
        assert!(late.message().contains("narrow") && late.message().contains("2000 ms"), "{late}");
        let busy = unread(QueryError::Busy);
        assert_eq!(busy.code(), Code::ResourceExhausted);
        assert_eq!(busy.metadata().get(PUSHBACK).unwrap(), PUSHBACK_MS);
    }

    #[test]
    fn a_failure_of_the_store_is_internal_without_its_reason() {
        let status = unwritten(StoreError::Failed(Cause::new("E99 in /data/db")).into());
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("/data"), "{status}");
    }
}
