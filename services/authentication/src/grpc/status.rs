//! Maps errors to gRPC statuses, in one place. Internal causes are logged here with the trace id, not returned.

use std::time::Duration;

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use weft_runtime::telemetry::chain;

use crate::accounts::AccountError;
use crate::invalid::Invalid;
use crate::password::HashError;
use crate::store::StoreError;

/// Seconds until a retry, as in HTTP.
const RETRY_AFTER: &str = "retry-after";
/// Milliseconds until a retry (gRPC proposal A6).
const PUSHBACK: &str = "grpc-retry-pushback-ms";
const SOON: Duration = Duration::from_secs(1);

pub(super) fn invalid(error: Invalid) -> Status {
    Status::invalid_argument(error.to_string())
}

pub(super) fn to_status(error: AccountError) -> Status {
    let message = error.to_string();
    match error {
        AccountError::Invalid(error) => invalid(error),
        AccountError::Credentials | AccountError::NotSignedIn => Status::unauthenticated(message),
        AccountError::WrongPassword | AccountError::Role(_) => Status::permission_denied(message),
        AccountError::NotFound(_) | AccountError::Deleted | AccountError::ResetLink => {
            Status::not_found(message)
        }
        AccountError::Taken(_) => Status::already_exists(message),
        AccountError::OtherContent
        | AccountError::LastAdmin
        | AccountError::Inactive
        | AccountError::NoConsole => Status::failed_precondition(message),
        AccountError::TooOften(wait) => wait_for(Code::ResourceExhausted, message, wait),
        AccountError::Hash(HashError::Busy) => wait_for(Code::ResourceExhausted, message, SOON),
        AccountError::NotReady => wait_for(Code::Unavailable, message, SOON),
        AccountError::Store(error) => store_failed(&error),
        AccountError::Hash(error) => failed(&error),
        AccountError::Token(error) => failed(&error),
        AccountError::Seal(error) => failed(&error),
    }
}

fn store_failed(error: &StoreError) -> Status {
    match error {
        StoreError::Unavailable(_) | StoreError::TimedOut(_) => {
            tracing::warn!(error = chain(error), "the store is unavailable");
            wait_for(Code::Unavailable, format!("{error}; try again"), SOON)
        }
        // Not the caller's fault. An operator has to fix the credentials; the caller can only retry.
        StoreError::Unauthorized(..) => {
            tracing::error!(error = chain(error), "the store refuses the service's credentials");
            wait_for(Code::Unavailable, "the store refuses the service's credentials".to_owned(), SOON)
        }
        StoreError::Failed(_) => failed(error),
    }
}

fn failed(error: &(dyn std::error::Error + 'static)) -> Status {
    tracing::error!(error = chain(error), "internal error");
    Status::internal("internal error; the service's log has the cause, with the trace id")
}

fn wait_for(code: Code, message: String, wait: Duration) -> Status {
    let mut status = Status::new(code, message);
    // Rounded up to whole seconds.
    let seconds = wait.as_millis().div_ceil(1_000).max(1);
    let mut insert = |name: &'static str, value: u128| {
        if let Ok(value) = MetadataValue::try_from(value.to_string()) {
            status.metadata_mut().insert(name, value);
        }
    };
    insert(RETRY_AFTER, seconds);
    if code == Code::Unavailable {
        insert(PUSHBACK, wait.as_millis());
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Cause;

    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds() {
        for (wait_ms, seconds) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2"), (20_000, "20")] {
            let status = to_status(AccountError::TooOften(Duration::from_millis(wait_ms)));
            assert_eq!(status.code(), Code::ResourceExhausted);
            assert_eq!(status.metadata().get(RETRY_AFTER).unwrap(), seconds, "{wait_ms}");
        }
    }

    #[test]
    fn a_full_queue_of_password_hashes_is_not_called_too_many_attempts() {
        let status = to_status(HashError::Busy.into());
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.metadata().get(RETRY_AFTER).unwrap(), "1");
        assert!(status.message().starts_with("too many passwords are being processed"), "{status}");
    }

    #[test]
    fn store_errors_do_not_reveal_their_cause() {
        let cause = || Cause::new("secret host");
        for error in [
            StoreError::Unavailable(cause()),
            StoreError::TimedOut(SOON),
            StoreError::Unauthorized("DATABASE_URL", cause()),
        ] {
            let status = to_status(error.into());
            assert_eq!(status.code(), Code::Unavailable);
            assert!(status.metadata().contains_key(PUSHBACK));
            assert!(!status.message().contains("secret"), "{status}");
        }
        let status = to_status(StoreError::Failed(cause()).into());
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("secret"), "{status}");
    }
}
