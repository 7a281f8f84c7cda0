//! What the logger asks of a store.

pub mod mongo;

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

pub use weft_runtime::store::{Cause, StoreError};

use crate::entry::{Entry, Page, Query};

/// Keeps and finds entries.
///
/// # Cancellation
/// Every future may be dropped: what the store has begun goes on by itself and leaves nothing half done.
#[async_trait]
pub trait LogStore: Send + Sync + 'static {
    /// Stores entries so that they outlive a crash of the store. An id that is there already is left as it is, and its content
    /// is compared. One outcome for each entry, in order.
    ///
    /// # Errors
    /// It is then open which of the entries are stored; the same call may be repeated.
    async fn insert(&self, entries: Vec<Entry>) -> Result<Vec<Inserted>, StoreError>;

    /// Finds entries, newest first. A page may be shorter than its limit, or empty, though there is more: `next` tells. The
    /// store stops working on it at the deadline. Callers share what searches may use of the store.
    ///
    /// # Errors
    /// When the store can't answer now.
    async fn query(&self, query: Query, caller: &str, deadline: Instant) -> Result<Page, QueryError>;

    /// Connects where that is still to do, and asks for the store's version with the rights that the logger needs.
    ///
    /// # Errors
    /// When it can't be reached, or refuses our credentials.
    async fn check(&self) -> Result<String, StoreError>;

    /// Brings indexes and retention to what this version wants. May run in several replicas at once, and takes as long as an
    /// index over all documents takes: reads and writes go on meanwhile.
    ///
    /// # Errors
    /// When it can't be done now. Idempotent.
    async fn migrate(&self, retention: Option<Duration>) -> Result<Expiry, StoreError>;

    /// Deletes at most `limit` entries that were received before this moment, and returns how many it deleted.
    ///
    /// # Errors
    /// When it can't be done now; it may be repeated.
    async fn delete_received_before(&self, before_ms: i64, limit: i64) -> Result<u64, StoreError>;
}

/// Why a query has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueryError {
    /// Too many searches are running or waiting, of this caller or of all.
    #[error("too many searches are running")]
    Busy,
    /// The store did not answer it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl QueryError {
    /// A name of the kind, for metrics and spans.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Store(error) => error.kind(),
        }
    }
}

/// What became of one entry.
#[derive(Debug, Clone)]
pub enum Inserted {
    /// It is new.
    Created,
    /// One of this id with the same content was there.
    AlreadyThere,
    /// One of this id with other content was there.
    Conflict,
    /// The store does not take it, whatever becomes of the others.
    Refused(Cause),
}

/// Who deletes what has been kept long enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Nobody: everything is kept.
    Never,
    /// The store itself.
    Store,
    /// The logger, because this store can't.
    Logger,
}
