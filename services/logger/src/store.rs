//! What the logger asks of a store.

pub mod mongo;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::entry::{Entry, Page, Query};

/// Keeps and finds entries.
///
/// # Cancellation
/// Every future may be dropped: what the store has begun goes on by itself and leaves nothing half done.
#[async_trait]
pub trait LogStore: Send + Sync + 'static {
    /// Stores entries so that they outlive a crash of the store. An id that is there already is left as it is.
    /// One outcome for each entry, in order.
    ///
    /// # Errors
    /// It is then open which of the entries are stored; the same call may be repeated.
    async fn insert(&self, entries: Vec<Entry>) -> Result<Vec<Inserted>, StoreError>;

    /// Finds entries, newest first. A page may be shorter than its limit though there is more: `next` tells.
    ///
    /// # Errors
    /// When the store can't answer now.
    async fn query(&self, query: Query) -> Result<Page, StoreError>;

    /// Connects where that is still to do, and asks for the store's version with the rights that the logger needs.
    ///
    /// # Errors
    /// When it can't be reached, or refuses our credentials.
    async fn check(&self) -> Result<String, StoreError>;

    /// Brings indexes and retention to what this version wants. May run in several replicas at once.
    ///
    /// # Errors
    /// When it can't be done now; it may be repeated.
    async fn migrate(&self, retention: Option<Duration>) -> Result<Expiry, StoreError>;

    /// Deletes at most `limit` entries that were received before this moment, and returns how many it deleted.
    ///
    /// # Errors
    /// When it can't be done now; it may be repeated.
    async fn delete_received_before(&self, before_ms: i64, limit: i64) -> Result<u64, StoreError>;
}

/// What became of one entry.
#[derive(Debug, Clone)]
pub enum Inserted {
    /// It is new.
    Created,
    /// One of this id was there.
    AlreadyThere,
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

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It can't be reached, or can't take this kind of call now.
    #[error("the store can't be reached")]
    Unavailable(#[source] Cause),
    /// It did not answer in time.
    #[error("the store did not answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// It does not know our credentials, or they have not the rights.
    #[error("the store refuses the credentials in MONGODB_URI")]
    Unauthorized(#[source] Cause),
    /// It refused what it was asked.
    #[error("the store failed")]
    Failed(#[source] Cause),
}

/// What lies behind an error, shared by all calls that it met.
#[derive(Debug, Clone)]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl Cause {
    /// A cause from any error or text.
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::from(error.into()))
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl StoreError {
    /// A name of the kind, for metrics and spans.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::TimedOut(_) => "timed_out",
            Self::Unauthorized(_) => "unauthorized",
            Self::Failed(_) => "failed",
        }
    }
}
