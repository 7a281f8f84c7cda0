//! The driver's errors as the port's.

use sqlx::Error;
use sqlx::migrate::MigrateError;

use crate::store::{Cause, StoreError};

/// Authentication failed; a role or its rights are missing.
const UNAUTHORIZED: [&str; 3] = ["28000", "28P01", "42501"];
/// Connection trouble, no room, the server ends or starts, a conflict between transactions, a standby.
const PASSING_CLASSES: [&str; 4] = ["08", "53", "57", "58"];
const PASSING: [&str; 4] = ["40001", "40P01", "55P03", "25006"];

pub(super) fn classify(error: Error) -> StoreError {
    match &error {
        Error::Database(refused) => match refused.code().as_deref() {
            Some(code) if UNAUTHORIZED.contains(&code) => {
                StoreError::Unauthorized("DATABASE_URL", Cause::new(error))
            }
            Some(code)
                if PASSING.contains(&code) || PASSING_CLASSES.iter().any(|class| code.starts_with(class)) =>
            {
                StoreError::Unavailable(Cause::new(error))
            }
            _ => StoreError::Failed(Cause::new(error)),
        },
        // A connection that breaks off may leave half a message behind, which the driver calls a breach of the protocol.
        Error::Io(_)
        | Error::Tls(_)
        | Error::Protocol(_)
        | Error::PoolTimedOut
        | Error::PoolClosed
        | Error::WorkerCrashed => StoreError::Unavailable(Cause::new(error)),
        _ => StoreError::Failed(Cause::new(error)),
    }
}

pub(super) fn unmigrated(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => classify(error),
        other => StoreError::Failed(Cause::new(other)),
    }
}

/// The store has what it can't have.
pub(super) fn corrupt(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Failed(Cause::new(error))
}
