//! The one place where the logger's errors become gRPC's. What is behind them stays inside: it is logged where it
//! happened.

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::group::WriteError;
use crate::store::{QueryError, StoreError};
use crate::validate::Invalid;

/// gRPC's own name for "come back after so many milliseconds" (proposal A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";
const PUSHBACK_MS: &str = "1000";

pub(super) fn invalid(error: Invalid) -> Status {
    Status::invalid_argument(error.to_string())
}

pub(super) fn conflict() -> Status {
    Status::already_exists("an entry of this id with other content is stored; use a new id for another entry")
}

pub(super) fn unwritten(error: WriteError) -> Status {
    match error {
        WriteError::Full => {
            later("too many entries wait for the store: nothing was stored, try again later".to_owned())
        }
        WriteError::Ending => later("this logger is ending: nothing was stored, try another".to_owned()),
        WriteError::Store(error) => {
            unstored(error, "the entry may or may not be stored: repeat it with the same id")
        }
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
                "the search did not end within {} ms: narrow it by `from` and `to` or by `service`",
                within.as_millis()
            ))
        }
        QueryError::Store(error) => failed(error),
    }
}

/// Of a call for dead letters, which may be repeated.
pub(super) fn failed(error: StoreError) -> Status {
    report(&error);
    unstored(error, "try again")
}

/// A write's failure is logged with its group, every other one here.
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
        // It says nothing of the call: the operator of the logger has to act, the caller can only come back.
        StoreError::Unauthorized(..) => later("the store refuses the logger's credentials".to_owned()),
        StoreError::Failed(_) => Status::internal(
            "the store failed on this call; the logger's log has the reason, under the trace's id",
        ),
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
    fn what_may_pass_is_unavailable_and_says_when_to_come_back() {
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
    fn a_search_that_takes_too_long_is_not_an_absent_store() {
        let late = unread(StoreError::TimedOut(std::time::Duration::from_secs(2)).into());
        assert_eq!(late.code(), Code::DeadlineExceeded);
        assert!(late.message().contains("narrow") && late.message().contains("2000 ms"), "{late}");
        let busy = unread(QueryError::Busy);
        assert_eq!(busy.code(), Code::ResourceExhausted);
        assert_eq!(busy.metadata().get(PUSHBACK).unwrap(), PUSHBACK_MS);
    }

    #[test]
    fn a_failure_of_the_store_is_internal_and_keeps_its_reason_inside() {
        let status = unwritten(StoreError::Failed(Cause::new("E99 in /data/db")).into());
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("/data"), "{status}");
    }
}
