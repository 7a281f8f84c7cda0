//! The port to the store.

pub mod mongo;

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

pub use weft_runtime::store::{Cause, StoreError};

use crate::entry::{Entry, Page, Query};

/// Stores and finds entries.
///
/// # Cancellation
/// Every future may be dropped. Work that the store has started continues and is completed.
#[async_trait]
pub trait LogStore: Send + Sync + 'static {
    /// Stores entries durably. An entry whose id already exists is not replaced; its content is compared. Returns one outcome for
    /// each entry, in order.
    ///
    /// # Errors
    /// After an error it is unknown which entries are stored. The call can be repeated.
    async fn insert(&self, entries: Vec<Entry>) -> Result<Vec<Inserted>, StoreError>;

    /// Finds entries, newest first. A page may be short or empty although there are more entries, as long as `next` is set. The
    /// store stops at the deadline. Each caller has a share of the concurrent searches.
    ///
    /// # Errors
    /// When the store does not answer, or too many searches are running.
    async fn query(&self, query: Query, caller: &str, deadline: Instant) -> Result<Page, QueryError>;

    /// Connects if necessary, checks the permissions that the logger needs, and returns the store's version.
    ///
    /// # Errors
    /// When the store is unreachable or refuses the credentials.
    async fn check(&self) -> Result<String, StoreError>;

    /// Creates the indexes and the retention of this version. Idempotent. May run in several replicas at once. May take long,
    /// because it builds indexes over all documents; reads and writes continue meanwhile.
    ///
    /// # Errors
    /// When the migration fails. It can be repeated.
    async fn migrate(&self, retention: Option<Duration>) -> Result<Expiry, StoreError>;

    /// Deletes at most `limit` entries that were received before `before_ms`. Returns how many were deleted.
    ///
    /// # Errors
    /// When the deletion fails. It can be repeated.
    async fn delete_received_before(&self, before_ms: i64, limit: i64) -> Result<u64, StoreError>;
}

/// Why a query failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueryError {
    /// Too many searches of this caller, or of all callers, are running or waiting.
    #[error("too many searches are running")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl QueryError {
    /// The kind of error, for metrics and spans.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Store(error) => error.kind(),
        }
    }
}

/// Outcome of inserting one entry.
#[derive(Debug, Clone)]
pub enum Inserted {
    /// The entry is new.
    Created,
    /// An entry with this id and the same content already exists.
    AlreadyThere,
    /// An entry with this id and other content already exists.
    Conflict,
    /// The store refused this entry; others are not affected.
    Refused(Cause),
}

/// Who deletes expired entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// No one: everything is kept.
    Never,
    /// The store itself.
    Store,
    /// The logger, because the store has no TTL indexes.
    Logger,
}
