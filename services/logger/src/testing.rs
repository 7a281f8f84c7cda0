//! Helpers of the unit tests.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Uuid;
use weft_runtime::clock::{Clock, FixedClock};

use crate::entry::{Entry, Level, Page, Query};
use crate::metrics::Metrics;
use crate::store::mongo::StoreAddress;
use crate::store::{Cause, Expiry, Inserted, LogStore, QueryError, StoreError};
use crate::trace::DatabaseSpans;

/// An entry with the id `n`.
pub(crate) fn entry(n: u128) -> Entry {
    Entry {
        id: Uuid::from_u128(n),
        time_ms: 1_764_000_000_000,
        received_ms: 1_764_000_000_000,
        service: "shop".into(),
        level: Level::Info,
        name: "sold".into(),
        data: String::new(),
        trace_id: None,
        attributes: Vec::new(),
    }
}

pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(FixedClock(jiff::Timestamp::from_millisecond(1_764_000_000_000).unwrap()))
}

pub(crate) fn metrics() -> Metrics {
    Metrics::register(&weft_runtime::metrics::Metrics::default())
}

pub(crate) fn spans() -> DatabaseSpans {
    DatabaseSpans::new(StoreAddress { host: "db".into(), port: 27017 }, "logs".into())
}

/// An in-memory store. The test decides when inserts and migrations end.
#[derive(Debug)]
pub(crate) struct FakeStore {
    entries: Mutex<Vec<Entry>>,
    groups: Mutex<Vec<usize>>,
    /// Each insert takes a permit before it ends.
    pub(crate) gate: Semaphore,
    /// Each migration takes a permit before it ends.
    pub(crate) migration: Semaphore,
    /// The id to refuse.
    refuse: Option<Uuid>,
    /// The error of inserts and migrations, if any.
    pub(crate) fail: Mutex<Option<StoreError>>,
    /// The last query, with caller and deadline.
    pub(crate) last_query: Mutex<Option<(Query, String, Instant)>>,
}

impl Default for FakeStore {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            groups: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            migration: Semaphore::new(Semaphore::MAX_PERMITS),
            refuse: None,
            fail: Mutex::default(),
            last_query: Mutex::default(),
        }
    }
}

impl FakeStore {
    /// A store whose inserts wait for the gate.
    pub(crate) fn gated() -> Self {
        Self { gate: Semaphore::new(0), ..Self::default() }
    }

    /// A store whose migrations wait for the gate.
    pub(crate) fn gated_migration() -> Self {
        Self { migration: Semaphore::new(0), ..Self::default() }
    }

    pub(crate) fn refusing(self, id: Uuid) -> Self {
        Self { refuse: Some(id), ..self }
    }

    pub(crate) fn ids(&self) -> Vec<Uuid> {
        lock(&self.entries).iter().map(|entry| entry.id).collect()
    }

    /// Sizes of the inserts so far, including running ones.
    pub(crate) fn groups(&self) -> Vec<usize> {
        lock(&self.groups).clone()
    }

    fn keep(&self, entry: Entry) -> Inserted {
        let mut kept = lock(&self.entries);
        if self.refuse == Some(entry.id) {
            Inserted::Refused(Cause::new("not this one"))
        } else if let Some(other) = kept.iter().find(|other| other.id == entry.id) {
            if other.same_content(&entry) { Inserted::AlreadyThere } else { Inserted::Conflict }
        } else {
            kept.push(entry);
            Inserted::Created
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl LogStore for FakeStore {
    async fn insert(&self, entries: Vec<Entry>) -> Result<Vec<Inserted>, StoreError> {
        lock(&self.groups).push(entries.len());
        self.gate.acquire().await.unwrap().forget();
        if let Some(error) = lock(&self.fail).clone() {
            return Err(error);
        }
        Ok(entries.into_iter().map(|entry| self.keep(entry)).collect())
    }

    async fn query(&self, query: Query, caller: &str, deadline: Instant) -> Result<Page, QueryError> {
        *lock(&self.last_query) = Some((query, caller.to_owned(), deadline));
        Ok(Page { entries: lock(&self.entries).clone(), next: None })
    }

    async fn check(&self) -> Result<String, StoreError> {
        Ok("1".into())
    }

    async fn migrate(&self, _: Option<Duration>) -> Result<Expiry, StoreError> {
        self.migration.acquire().await.unwrap().forget();
        lock(&self.fail).clone().map_or(Ok(Expiry::Logger), Err)
    }

    async fn delete_received_before(&self, before_ms: i64, limit: i64) -> Result<u64, StoreError> {
        let mut deleted = 0;
        lock(&self.entries).retain(|entry| {
            let expired = deleted < limit && entry.received_ms < before_ms;
            deleted += i64::from(expired);
            !expired
        });
        Ok(deleted.unsigned_abs())
    }
}
