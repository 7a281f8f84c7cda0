//! Adapter for MongoDB and compatible stores.
//!
//! Each operation runs in its own task: see [`lane`].

pub mod archive;
mod document;
mod error;
mod filter;
mod lane;
pub mod letters;
mod schema;
mod search;
#[cfg(test)]
mod tests;
pub mod users;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::{
    Acknowledgment, ClientOptions, ReadPreference, SelectionCriteria, ServerAddress, WriteConcern,
};
use mongodb::{Client, Collection};
use secrecy::ExposeSecret as _;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use self::lane::{Lane, detached};
use super::{Cause, Expiry, Inserted, LogStore, QueryError, StoreError};
use crate::config::StoreConfig;
use crate::entry::{Entry, Page, Query};

/// The collection of entries, named as in the original.
pub const COLLECTION: &str = "logs";

/// Maximum number of concurrent inserts, including those whose callers have gone.
const INSERTS: usize = 8;
/// Maximum number of concurrent lookups of an insert's repeats. On another host each takes a round trip.
const LOOKUPS: usize = 4;
/// Maximum number of concurrent searches by index.
const SEARCHES: usize = 6;
/// Maximum number of concurrent searches for a text. Separate, because the server reads every document in their time range.
const TEXT_SEARCHES: usize = 4;
/// Maximum number of concurrent checks and deletions. Separate, so that slow searches do not make the logger unready.
const HOUSEKEEPING: usize = 3;
/// One connection for each of these, for each call for dead letters and for the migration, and some for closing cursors.
const POOL_SIZE: u32 = 28;
/// Timeout for deleting one batch of expired entries. Long, because a store without indexes scans all documents.
const DELETE_WITHIN: Duration = Duration::from_secs(300);
/// Documents in one reply of the server. With 1 MiB each, they stay below the maximum message size.
const REPLY_DOCUMENTS: u32 = 32;
/// Heartbeat interval. The driver detects a store that does not answer within this plus the connect timeout, and then fails
/// the calls that wait for it.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(5);

/// Address of the store, for spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreAddress {
    /// Host name or IP address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Stores entries in a MongoDB collection.
#[derive(Debug)]
pub struct MongoStore {
    config: StoreConfig,
    collection: Arc<OnceLock<Collection<RawDocumentBuf>>>,
    inserts: Arc<Semaphore>,
    searches: Lane,
    text_searches: Lane,
    housekeeping: Arc<Semaphore>,
    letters: Arc<Semaphore>,
}

impl MongoStore {
    /// Creates a store that connects at the first [`LogStore::check`].
    pub fn new(config: StoreConfig) -> Self {
        Self {
            config,
            collection: Arc::default(),
            inserts: Arc::new(Semaphore::new(INSERTS)),
            searches: Lane::new(SEARCHES),
            text_searches: Lane::new(TEXT_SEARCHES),
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

#[async_trait]
impl LogStore for MongoStore {
    async fn insert(&self, entries: Vec<Entry>) -> Result<Vec<Inserted>, StoreError> {
        let collection = self.collection()?;
        detached(&self.inserts, self.config.insert_timeout, async move {
            let documents: Vec<RawDocumentBuf> = entries.iter().map(document::encode).collect();
            drop(entries);
            let outcome = match insert_once(&collection, &documents).await {
                // Ids make the insert idempotent, so it is repeated on another connection.
                Err(error) if error::connection_lost(&error) => insert_once(&collection, &documents).await,
                outcome => outcome,
            };
            let inserted = error::inserted(documents.len(), outcome)?;
            compare(&collection, &documents, inserted).await.map_err(error::classify)
        })
        .await
    }

    async fn query(&self, query: Query, caller: &str, deadline: Instant) -> Result<Page, QueryError> {
        let collection = self.collection()?;
        let lane = if query.text.is_some() && query.trace_id.is_none() {
            &self.text_searches
        } else {
            &self.searches
        };
        lane.run(caller, deadline, |limit| async move { search::run(&collection, query, &limit).await }).await
    }

    async fn check(&self) -> Result<String, StoreError> {
        let (link, config) = (Arc::clone(&self.collection), self.config.clone());
        detached(&self.housekeeping, config.selection_timeout * 2, async move {
            let collection = match link.get() {
                Some(collection) => collection.clone(),
                None => {
                    let connected = connect(&config).await.map_err(error::classify)?;
                    link.get_or_init(|| connected).clone()
                }
            };
            schema::version(&collection, config.selection_timeout).await.map_err(error::classify)
        })
        .await
    }

    async fn migrate(&self, retention: Option<Duration>) -> Result<Expiry, StoreError> {
        let collection = self.collection()?;
        // No timeout: building an index over all documents may take long. The supervisor runs one migration at a time.
        let migration = async move {
            letters::migrate(&collection).await?;
            schema::migrate(&collection, retention).await
        };
        let ended = tokio::spawn(migration).await.map_err(|error| StoreError::Failed(Cause::new(error)))?;
        ended.map_err(error::classify)
    }

    async fn delete_received_before(&self, before_ms: i64, limit: i64) -> Result<u64, StoreError> {
        let collection = self.collection()?;
        detached(&self.housekeeping, DELETE_WITHIN, async move {
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

/// Distinguishes repeats, whose content equals the stored entry's, from conflicts. An id that is not found has been deleted by
/// retention since, and counts as a repeat. Each id has its own lookup, because FerretDB scans the collection for several.
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
    let mut lookups = Vec::with_capacity(repeats.len());
    for (id, indexes) in &repeats {
        lookups.push(conflicts(collection, id, documents, indexes));
    }
    // All run to their end, because the driver's futures must not be dropped.
    let found: Vec<_> = stream::iter(lookups).buffer_unordered(LOOKUPS).collect().await;
    for conflicts in found {
        for index in conflicts? {
            inserted[index] = Inserted::Conflict;
        }
    }
    Ok(inserted)
}

/// Those of the documents with this id whose content differs from the stored entry's.
async fn conflicts(
    collection: &Collection<RawDocumentBuf>,
    id: &str,
    documents: &[RawDocumentBuf],
    indexes: &[usize],
) -> mongodb::error::Result<Vec<usize>> {
    let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
    let Some(stored) = collection.find_one(doc! { "_id": id }).selection_criteria(primary).await? else {
        return Ok(Vec::new());
    };
    let same = |index: &usize| documents.get(*index).is_some_and(|one| document::same_content(one, &stored));
    Ok(indexes.iter().copied().filter(|index| !same(index)).collect())
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
        .max_time(DELETE_WITHIN)
        .await?
        .try_collect()
        .await?;
    let ids: Vec<_> = found.into_iter().filter_map(|mut document| document.remove("_id")).collect();
    if ids.is_empty() {
        return Ok(0);
    }
    Ok(collection.delete_many(doc! { "_id": { "$in": ids } }).await?.deleted_count)
}

/// Options of every connection.
async fn options(config: &StoreConfig) -> mongodb::error::Result<ClientOptions> {
    let mut options = ClientOptions::parse(config.uri.expose_secret()).await?;
    options.app_name.get_or_insert_with(|| "weft-logger".to_owned());
    options.server_selection_timeout.get_or_insert(config.selection_timeout);
    options.connect_timeout.get_or_insert(config.selection_timeout);
    Ok(options)
}

async fn connect(config: &StoreConfig) -> mongodb::error::Result<Collection<RawDocumentBuf>> {
    Ok(Client::with_options(durable(config).await?)?.database(&config.database).collection(COLLECTION))
}

/// Options of the logger's own connection.
async fn durable(config: &StoreConfig) -> mongodb::error::Result<ClientOptions> {
    let mut options = options(config).await?;
    options.heartbeat_freq.get_or_insert(HEARTBEAT_EVERY);
    options.max_pool_size.get_or_insert(POOL_SIZE);
    // Acknowledged entries must be durable, so this overrides the connection string.
    let durable = WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .w_timeout(config.insert_timeout)
        .build();
    options.write_concern = Some(durable);
    Ok(options)
}

/// The first server of a connection string; `None` if there is none.
///
/// # Errors
/// When the connection string is invalid.
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
