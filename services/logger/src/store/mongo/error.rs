//! Maps the driver's errors to the port's.

use mongodb::error::{Error, ErrorKind, InsertManyError};

use crate::store::{Cause, Inserted, StoreError};

pub(super) const NOT_IMPLEMENTED: i32 = 238;
pub(super) const INDEX_OPTIONS_CONFLICT: i32 = 85;
const INDEX_KEYS_CONFLICT: i32 = 86;
pub(super) const MAX_TIME_EXPIRED: i32 = 50;

/// The setting with the credentials.
const SETTING: &str = "MONGODB_URI";

const DUPLICATE_KEY: i32 = 11_000;
const UNAUTHORIZED: [i32; 2] = [13, 18];
const NAMESPACE_NOT_FOUND: i32 = 26;
const INDEX_NOT_FOUND: i32 = 27;
/// Codes of temporary failures: the server steps down, starts or shuts down, its peers are unavailable, its disk is full; and 1,
/// with which FerretDB reports a failure of its own store.
const TEMPORARY: [i32; 16] =
    [1, 6, 7, 64, 89, 91, 100, 189, 262, 9_001, 10_058, 10_107, 11_600, 11_602, 13_435, 14_031];

/// The error code of a refused command.
pub(super) fn code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

/// Whether the index or the collection does not exist.
pub(super) fn nothing_to_drop(error: &Error) -> bool {
    matches!(code(error), Some(NAMESPACE_NOT_FOUND | INDEX_NOT_FOUND))
}

/// Whether an index with the same keys and another name, or with the same name and other keys, exists.
pub(super) fn another_index(error: &Error) -> bool {
    matches!(code(error), Some(INDEX_OPTIONS_CONFLICT | INDEX_KEYS_CONFLICT))
}

/// Whether the connection was lost, so that a repeat on another one may succeed.
pub(super) fn connection_lost(error: &Error) -> bool {
    matches!(error.kind.as_ref(), ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. })
}

/// Whether a document with this id already exists.
pub(super) fn is_duplicate(error: &Error) -> bool {
    let write = |error: &Error| match error.kind.as_ref() {
        ErrorKind::Write(mongodb::error::WriteFailure::WriteError(error)) => Some(error.code),
        _ => None,
    };
    write(error) == Some(DUPLICATE_KEY)
}

pub(super) fn classify(error: Error) -> StoreError {
    match error.kind.as_ref() {
        ErrorKind::Authentication { .. } => StoreError::Unauthorized(SETTING, cause(&error)),
        ErrorKind::Command(command) if UNAUTHORIZED.contains(&command.code) => {
            StoreError::Unauthorized(SETTING, cause(&error))
        }
        ErrorKind::Command(command)
            if TEMPORARY.contains(&command.code) || command.code == MAX_TIME_EXPIRED =>
        {
            StoreError::Unavailable(cause(&error))
        }
        ErrorKind::ServerSelection { .. }
        | ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::DnsResolve { .. } => StoreError::Unavailable(cause(&error)),
        _ => StoreError::Failed(cause(&error)),
    }
}

/// The outcomes of an unordered insert of `count` documents. A duplicate key is not a failure: the entry already exists.
pub(super) fn inserted(count: usize, outcome: Result<(), Error>) -> Result<Vec<Inserted>, StoreError> {
    let mut all = vec![Inserted::Created; count];
    let Err(error) = outcome else { return Ok(all) };
    let ErrorKind::InsertMany(InsertManyError { write_errors, write_concern_error, .. }) =
        error.kind.as_ref()
    else {
        return Err(classify(error));
    };
    // Written, but not by a majority, so not durable.
    if write_concern_error.is_some() {
        return Err(StoreError::Unavailable(cause(&error)));
    }
    for refused in write_errors.iter().flatten() {
        let Some(one) = all.get_mut(refused.index) else { return Err(StoreError::Failed(cause(&error))) };
        *one = match refused.code {
            DUPLICATE_KEY => Inserted::AlreadyThere,
            _ => Inserted::Refused(Cause::new(refused.message.clone())),
        };
    }
    Ok(all)
}

/// The driver's description, without the server's reply.
fn cause(error: &Error) -> Cause {
    Cause::new(error.kind.to_string())
}

#[cfg(test)]
mod tests {
    use mongodb::error::CommandError;
    use serde_json::json;

    use super::*;

    fn refused(code: i32, name: &str) -> StoreError {
        let refusal = json!({"code": code, "codeName": name, "errmsg": "Authentication failed."});
        let refusal: CommandError = serde_json::from_value(refusal).unwrap();
        classify(ErrorKind::Command(refusal).into())
    }

    #[test]
    fn refused_credentials_name_the_setting() {
        for (code, name) in [(18, "AuthenticationFailed"), (13, "Unauthorized")] {
            let error = refused(code, name);
            assert!(matches!(error, StoreError::Unauthorized(..)), "{error:?}");
            assert!(error.to_string().contains("MONGODB_URI"), "{error}");
        }
        assert!(matches!(refused(11_600, "InterruptedAtShutdown"), StoreError::Unavailable(_)));
    }
}
