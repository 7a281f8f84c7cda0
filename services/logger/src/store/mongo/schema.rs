//! Indexes and retention of the collection. Every step is idempotent and may run in several replicas at once.

use std::time::Duration;

use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::error::{Error, Result};
use mongodb::options::IndexOptions;
use mongodb::{Collection, IndexModel};

use super::error::{self, code};
use crate::store::Expiry;

/// Name of the TTL index.
const RETENTION: &str = "retention";
/// Indexes for searches. Each begins with fields that a filter compares for equality, and ends with the sort order of searches and
/// cursors. So the server reads only what a page needs, in the right order.
pub(super) const SEARCHES: [&[(&str, i32)]; 5] = [
    &[("time", -1), ("_id", -1)],
    &[("service", 1), ("time", -1), ("_id", -1)],
    &[("level", 1), ("time", -1), ("_id", -1)],
    &[("service", 1), ("level", 1), ("time", -1), ("_id", -1)],
    &[("trace_id", 1), ("time", -1), ("_id", -1)],
];
/// Indexes of earlier versions, which the above replace.
const REPLACED: [&str; 2] = ["service_1_time_-1", "trace_id_1"];
/// The longest retention of a TTL index: 68 years.
const MAX_RETENTION_S: u64 = i32::MAX as u64;

/// Checks that the collection can be read, and returns the server's version.
pub(super) async fn version(collection: &Collection<RawDocumentBuf>, within: Duration) -> Result<String> {
    collection.find_one(doc! {}).projection(doc! { "_id": 1 }).max_time(within).await?;
    let info = database(collection).run_command(doc! { "buildInfo": 1 }).await?;
    let version = info.get_str("version").unwrap_or("unknown");
    Ok(match info.get_str("ferretdbVersion") {
        Ok(ferretdb) => format!("{version} (FerretDB {ferretdb})"),
        Err(_) => version.to_owned(),
    })
}

pub(super) async fn migrate(
    collection: &Collection<RawDocumentBuf>,
    retention: Option<Duration>,
) -> Result<Expiry> {
    let expiry = expire(collection, retention).await?;
    if searches_by_index(collection).await? {
        index_searches(collection).await?;
    }
    Ok(expiry)
}

/// Creates the missing indexes for searches, all in one pass over the documents, then drops the indexes that they replace.
pub(super) async fn index_searches(collection: &Collection<RawDocumentBuf>) -> Result<()> {
    let existing = match collection.list_index_names().await {
        Err(error) if error::nothing_to_drop(&error) => Vec::new(),
        names => names?,
    };
    let missing = SEARCHES.map(|fields| (index_name(fields), fields)).into_iter();
    let missing = missing.filter(|(name, _)| !existing.contains(name)).map(index_model);
    let missing: Vec<IndexModel> = missing.collect();
    if !missing.is_empty() {
        match collection.create_indexes(missing.clone()).await {
            Err(error) if error::another_index(&error) => create_each(collection, missing).await?,
            created => drop(created?),
        }
    }
    for name in REPLACED {
        match collection.drop_index(name).await {
            Err(error) if !error::nothing_to_drop(&error) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn index_name(fields: &[(&str, i32)]) -> String {
    let parts: Vec<String> = fields.iter().map(|(field, order)| format!("{field}_{order}")).collect();
    parts.join("_")
}

fn index_model((name, fields): (String, &[(&str, i32)])) -> IndexModel {
    let keys = fields.iter().map(|(field, order)| ((*field).to_owned(), Bson::Int32(*order)));
    let options = IndexOptions::builder().name(name).build();
    IndexModel::builder().keys(keys.collect::<Document>()).options(options).build()
}

/// Creates the indexes one by one, so that a conflicting index does not prevent the others.
async fn create_each(collection: &Collection<RawDocumentBuf>, models: Vec<IndexModel>) -> Result<()> {
    for model in models {
        match collection.create_index(model).await {
            Err(error) if error::another_index(&error) => {
                tracing::warn!(error = %error.kind, "an existing index conflicts with an index for searches");
            }
            created => drop(created?),
        }
    }
    Ok(())
}

/// False for FerretDB 1 on SQLite, which only uses the index on `_id`: others would only slow down inserts.
async fn searches_by_index(collection: &Collection<RawDocumentBuf>) -> Result<bool> {
    let info = database(collection).run_command(doc! { "buildInfo": 1 }).await?;
    Ok(!info.get_str("ferretdbVersion").is_ok_and(|version| version.starts_with("v1.")))
}

async fn expire(collection: &Collection<RawDocumentBuf>, retention: Option<Duration>) -> Result<Expiry> {
    let Some(retention) = retention else {
        return match collection.drop_index(RETENTION).await {
            Err(error) if !error::nothing_to_drop(&error) => Err(error),
            _ => Ok(Expiry::Never),
        };
    };
    let after = Duration::from_secs(retention.as_secs().clamp(1, MAX_RETENTION_S));
    let options = IndexOptions::builder().name(RETENTION.to_owned()).expire_after(after).build();
    let index = IndexModel::builder().keys(doc! { "created_at": 1 }).options(options).build();
    match collection.create_index(index).await {
        Ok(_) => Ok(Expiry::Store),
        Err(error) if code(&error) == Some(error::NOT_IMPLEMENTED) => Ok(Expiry::Logger),
        Err(error) if code(&error) == Some(error::INDEX_OPTIONS_CONFLICT) => {
            change_retention(collection, after).await.map(|()| Expiry::Store)
        }
        Err(error) => Err(error),
    }
}

async fn change_retention(
    collection: &Collection<RawDocumentBuf>,
    after: Duration,
) -> std::result::Result<(), Error> {
    let seconds = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
    let change = doc! { "name": RETENTION, "expireAfterSeconds": seconds };
    database(collection).run_command(doc! { "collMod": collection.name(), "index": change }).await.map(drop)
}

fn database(collection: &Collection<RawDocumentBuf>) -> mongodb::Database {
    collection.client().database(&collection.namespace().db)
}
