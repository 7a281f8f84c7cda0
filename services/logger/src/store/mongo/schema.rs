//! Indexes and retention of the collection. Everything here may be done again, and by several replicas at once.

use std::time::Duration;

use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::error::{Error, Result};
use mongodb::options::IndexOptions;
use mongodb::{Collection, IndexModel};

use super::error::{self, code};
use crate::store::Expiry;

/// The TTL index's name.
const RETENTION: &str = "retention";
/// What searches use. Each begins with fields that a filter compares with one value, and ends with the order of a search and the place
/// of a cursor: so the server reads what a page needs, in its order, and no more.
pub(super) const SEARCHES: [&[(&str, i32)]; 5] = [
    &[("time", -1), ("_id", -1)],
    &[("service", 1), ("time", -1), ("_id", -1)],
    &[("level", 1), ("time", -1), ("_id", -1)],
    &[("service", 1), ("level", 1), ("time", -1), ("_id", -1)],
    &[("trace_id", 1), ("time", -1), ("_id", -1)],
];
/// Indexes of earlier versions that those replace.
const REPLACED: [&str; 2] = ["service_1_time_-1", "trace_id_1"];
/// The longest that a TTL index can say, 68 years.
const LONGEST_S: u64 = i32::MAX as u64;

/// The server's version, asked for with the right to read the collection.
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

/// Creates the indexes of searches that are missing, all in one pass over the documents, then drops those that they replace.
/// Idempotent.
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

/// An index that is in the way does not keep the others from being created.
async fn create_each(collection: &Collection<RawDocumentBuf>, models: Vec<IndexModel>) -> Result<()> {
    for model in models {
        match collection.create_index(model).await {
            Err(error) if error::another_index(&error) => {
                tracing::warn!(error = %error.kind, "an index conflicts with one that searches use");
            }
            created => drop(created?),
        }
    }
    Ok(())
}

/// FerretDB 1 on SQLite looks up by `_id` alone and scans for all else: further indexes would only slow its inserts.
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
    let after = Duration::from_secs(retention.as_secs().clamp(1, LONGEST_S));
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
