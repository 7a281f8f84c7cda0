//! MongoDB, and what speaks its protocol.
//!
//! The driver's futures are not made to be dropped half way (its own documentation says so). So each piece of work
//! runs on a task of its own; a caller who gives up leaves the task, never the future. How many such tasks there
//! can be is bounded, so that a store that hangs holds a bounded amount of memory.

pub mod archive;
mod document;
mod error;
mod filter;
pub mod letters;
mod schema;
pub mod users;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::TryStreamExt as _;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::{
    Acknowledgment, ClientOptions, ReadPreference, SelectionCriteria, ServerAddress, WriteConcern,
};
use mongodb::{Client, Collection};
use secrecy::ExposeSecret as _;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::{Cause, Expiry, Inserted, LogStore, StoreError};
use crate::config::StoreConfig;
use crate::entry::{Entry, Page, Query};
use crate::paging;

/// The collection of the original, kept.
pub const COLLECTION: &str = "logs";

/// Inserts that may exist at once, those included whose callers gave up waiting.
const INSERTS: usize = 8;
/// Queries that may exist at once, likewise.
const QUERIES: usize = 4;
/// Checks, migrations and deletions that may exist at once: apart, so that slow queries do not make the logger unready.
const HOUSEKEEPING: usize = 3;
/// A connection for each of them.
const POOL_SIZE: u32 = 19;
/// Documents that one reply of the server brings: at 1 MiB each, still less than a message may hold.
const REPLY_DOCUMENTS: u32 = 32;
/// A store that answers nothing is noticed by the driver within this plus the connect timeout; then the driver ends
/// the calls that wait on it.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);

/// Where the store is, for spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreAddress {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Entries in a MongoDB collection.
#[derive(Debug)]
pub struct MongoStore {
    config: StoreConfig,
    collection: Arc<OnceLock<Collection<RawDocumentBuf>>>,
    inserts: Arc<Semaphore>,
    queries: Arc<Semaphore>,
    housekeeping: Arc<Semaphore>,
    letters: Arc<Semaphore>,
}

impl MongoStore {
    /// A store that connects at its first [`LogStore::check`].
    pub fn new(config: StoreConfig) -> Self {
        Self {
            config,
            collection: Arc::default(),
            inserts: Arc::new(Semaphore::new(INSERTS)),
            queries: Arc::new(Semaphore::new(QUERIES)),
            housekeeping: Arc::new(Semaphore::new(HOUSEKEEPING)),
            letters: Arc::new(Semaphore::new(letters::CALLS)),
        }
    }

    /// The dead letters, in the same database.
    pub fn letters(&self) -> letters::MongoLetters {
        letters::MongoLetters {
            link: Arc::clone(&self.collection),
            room: Arc::clone(&self.letters),
            within: self.config.query_timeout,
        }
    }

    fn collection(&self) -> Result<Collection<RawDocumentBuf>, StoreError> {
        self.collection.get().cloned().ok_or_else(|| StoreError::Unavailable(Cause::new("not connected yet")))
    }
}

/// Runs work on its own task and waits so long for it; the task goes on when the wait is over.
async fn detached<T: Send + 'static>(
    room: &Arc<Semaphore>,
    within: Duration,
    work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    let late = |_| StoreError::TimedOut(within);
    let deadline = Instant::now() + within;
    let place = timeout_at(deadline, Arc::clone(room).acquire_owned()).await.map_err(late)?;
    let place = place.map_err(|error| StoreError::Failed(Cause::new(error)))?;
    let task = tokio::spawn(async move {
        let outcome = work.await;
        drop(place);
        outcome
    });
    let ended = timeout_at(deadline, task).await.map_err(late)?;
    ended.map_err(|error| StoreError::Failed(Cause::new(error)))?
}

#[async_trait]
impl LogStore for MongoStore {
    async fn insert(&self, entries: Vec<Entry>) -> Result<Vec<Inserted>, StoreError> {
        let collection = self.collection()?;
        detached(&self.inserts, self.config.insert_timeout, async move {
            let documents: Vec<RawDocumentBuf> = entries.iter().map(document::encode).collect();
            drop(entries);
            let outcome = match insert_once(&collection, &documents).await {
                // The connection was a dead one. Ids make a repeat safe.
                Err(error) if error::connection_lost(&error) => insert_once(&collection, &documents).await,
                outcome => outcome,
            };
            let inserted = error::inserted(documents.len(), outcome)?;
            compare(&collection, &documents, inserted).await.map_err(error::classify)
        })
        .await
    }

    async fn query(&self, query: Query) -> Result<Page, StoreError> {
        let (collection, within) = (self.collection()?, self.config.query_timeout);
        detached(&self.queries, within, async move { find(&collection, &query, within).await }).await
    }

    async fn check(&self) -> Result<String, StoreError> {
        let (link, config) = (Arc::clone(&self.collection), self.config.clone());
        detached(&self.housekeeping, config.selection_timeout * 2, async move {
            let collection = match link.get() {
                Some(collection) => collection.clone(),
                None => {
                    let made = connect(&config).await.map_err(error::classify)?;
                    link.get_or_init(|| made).clone()
                }
            };
            schema::version(&collection).await.map_err(error::classify)
        })
        .await
    }

    async fn migrate(&self, retention: Option<Duration>) -> Result<Expiry, StoreError> {
        // An index over what is already there takes its time.
        const WITHIN: Duration = Duration::from_secs(600);
        let collection = self.collection()?;
        detached(&self.housekeeping, WITHIN, async move {
            letters::migrate(&collection).await.map_err(error::classify)?;
            schema::migrate(&collection, retention).await.map_err(error::classify)
        })
        .await
    }

    async fn delete_received_before(&self, before_ms: i64, limit: i64) -> Result<u64, StoreError> {
        let collection = self.collection()?;
        detached(&self.housekeeping, self.config.query_timeout * 3, async move {
            delete(&collection, before_ms, limit).await.map_err(error::classify)
        })
        .await
    }
}

async fn insert_once(
    collection: &Collection<RawDocumentBuf>,
    documents: &[RawDocumentBuf],
) -> mongodb::error::Result<()> {
    collection.insert_many(documents).ordered(false).await.map(drop)
}

/// Tells a repeat, whose content is that of the stored entry, from a conflict. An id that is not found was deleted by retention
/// since, and stays a repeat.
async fn compare(
    collection: &Collection<RawDocumentBuf>,
    documents: &[RawDocumentBuf],
    mut inserted: Vec<Inserted>,
) -> mongodb::error::Result<Vec<Inserted>> {
    let mut repeats: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, document) in documents.iter().enumerate() {
        if matches!(inserted.get(index), Some(Inserted::AlreadyThere)) {
            repeats.entry(document.get_str("_id")?).or_default().push(index);
        }
    }
    for filter in filter::of_ids(repeats.keys().copied().collect()) {
        let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
        let found = collection.find(filter).batch_size(REPLY_DOCUMENTS).selection_criteria(primary);
        let mut found = found.await?;
        while let Some(stored) = found.try_next().await? {
            for index in repeats.get(stored.get_str("_id")?).into_iter().flatten() {
                let document = documents.get(*index);
                if !document.is_some_and(|document| document::same_content(document, &stored)) {
                    inserted[*index] = Inserted::Conflict;
                }
            }
        }
    }
    Ok(inserted)
}

async fn find(
    collection: &Collection<RawDocumentBuf>,
    query: &Query,
    within: Duration,
) -> Result<Page, StoreError> {
    let failed = |error| match error::code(&error) {
        Some(error::MAX_TIME_EXPIRED) => StoreError::TimedOut(within),
        _ => error::classify(error),
    };
    // One more than asked for tells whether there is a next page.
    let wanted = i64::try_from(query.limit).unwrap_or(i64::MAX).saturating_add(1);
    let mut cursor = collection
        .find(filter::of(query))
        .sort(doc! { "time": -1, "_id": -1 })
        .limit(wanted)
        .batch_size(REPLY_DOCUMENTS)
        .max_time(within)
        .await
        .map_err(failed)?;
    let mut page = paging::Builder::new(query.limit);
    while let Some(document) = cursor.try_next().await.map_err(failed)? {
        match document::decode(&document) {
            Ok(entry) => {
                if page.add(entry).is_break() {
                    break;
                }
            }
            Err(error) => tracing::warn!(error = %error, "skipped a document that is no entry of ours"),
        }
    }
    Ok(page.finish())
}

async fn delete(
    collection: &Collection<RawDocumentBuf>,
    before_ms: i64,
    limit: i64,
) -> mongodb::error::Result<u64> {
    let found: Vec<Document> = collection
        .clone_with_type::<Document>()
        .find(filter::received_before(before_ms))
        .projection(doc! { "_id": 1 })
        .limit(limit)
        .await?
        .try_collect()
        .await?;
    let ids: Vec<_> = found.into_iter().filter_map(|mut document| document.remove("_id")).collect();
    if ids.is_empty() {
        return Ok(0);
    }
    Ok(collection.delete_many(doc! { "_id": { "$in": ids } }).await?.deleted_count)
}

/// How to connect.
async fn options(config: &StoreConfig) -> mongodb::error::Result<ClientOptions> {
    let mut options = ClientOptions::parse(config.uri.expose_secret()).await?;
    options.app_name.get_or_insert_with(|| "weft-logger".to_owned());
    options.server_selection_timeout.get_or_insert(config.selection_timeout);
    options.connect_timeout.get_or_insert(config.selection_timeout);
    Ok(options)
}

async fn connect(config: &StoreConfig) -> mongodb::error::Result<Collection<RawDocumentBuf>> {
    let mut options = options(config).await?;
    options.heartbeat_freq.get_or_insert(HEARTBEAT_EVERY);
    options.max_pool_size.get_or_insert(POOL_SIZE);
    // Answered means kept: this goes before what the connection string says.
    let durable = WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .w_timeout(config.insert_timeout)
        .build();
    options.write_concern = Some(durable);
    Ok(Client::with_options(options)?.database(&config.database).collection(COLLECTION))
}

/// Where the first server of a connection string is; `None` when the string is none.
///
/// # Errors
/// Says, without the string itself, what is wrong with it.
pub fn address(uri: &str) -> Result<Option<StoreAddress>, mongodb::error::Error> {
    let parsed = mongodb::options::ConnectionString::parse(uri)?;
    Ok(match parsed.host_info {
        mongodb::options::HostInfo::HostIdentifiers(hosts) => hosts.into_iter().find_map(|host| match host {
            ServerAddress::Tcp { host, port } => Some(StoreAddress { host, port: port.unwrap_or(27017) }),
            _ => None,
        }),
        mongodb::options::HostInfo::DnsRecord(host) => Some(StoreAddress { host, port: 27017 }),
        _ => None,
    })
}
