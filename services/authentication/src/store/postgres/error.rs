//! Maps the driver's errors to [`StoreError`].

use sqlx::Error;
use sqlx::migrate::MigrateError;

use crate::store::{Cause, StoreError};

/// SQLSTATEs: authentication failed, or privileges are missing.
const UNAUTHORIZED: [&str; 3] = ["28000", "28P01", "42501"];
/// SQLSTATEs of transient errors: connection failures, insufficient resources, shutdown and startup, serialization conflicts, a
/// standby.
const TRANSIENT_CLASSES: [&str; 4] = ["08", "53", "57", "58"];
const TRANSIENT: [&str; 4] = ["40001", "40P01", "55P03", "25006"];

pub(super) fn classify(error: Error) -> StoreError {
    match &error {
        Error::Database(refused) => match refused.code().as_deref() {
            Some(code) if UNAUTHORIZED.contains(&code) => {
                StoreError::Unauthorized("DATABASE_URL", Cause::new(error))
            }
            Some(code)
                if TRANSIENT.contains(&code)
                    || TRANSIENT_CLASSES.iter().any(|class| code.starts_with(class)) =>
            {
                StoreError::Unavailable(Cause::new(error))
            }
            _ => StoreError::Failed(Cause::new(error)),
        },
        // `Protocol`: the driver reports it when a connection breaks in the middle of a message.
        Error::Io(_)
        | Error::Tls(_)
        | Error::Protocol(_)
        | Error::PoolTimedOut
        | Error::PoolClosed
        | Error::WorkerCrashed => StoreError::Unavailable(Cause::new(error)),
        _ => StoreError::Failed(Cause::new(error)),
    }
}

pub(super) fn classify_migration(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => classify(error),
        other => StoreError::Failed(Cause::new(other)),
    }
}

/// A row that violates the schema's rules.
pub(super) fn corrupt(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Failed(Cause::new(error))
}
