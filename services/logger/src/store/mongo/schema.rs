//! Indexes and retention of the collection. Everything here may be done again, and by several replicas at once.

use std::time::Duration;

use mongodb::bson::{RawDocumentBuf, doc};
use mongodb::error::{Error, Result};
use mongodb::options::IndexOptions;
use mongodb::{Collection, IndexModel};

use super::error::{self, code};
use crate::store::Expiry;

/// The TTL index's name.
const RETENTION: &str = "retention";
/// The longest that a TTL index can say, 68 years.
const LONGEST_S: u64 = i32::MAX as u64;

/// The server's version, asked for with the right to read the collection.
pub(super) async fn version(collection: &Collection<RawDocumentBuf>) -> Result<String> {
    collection.find_one(doc! {}).projection(doc! { "_id": 1 }).await?;
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
        let keys =
            [doc! { "service": 1, "time": -1 }, doc! { "time": -1, "_id": -1 }, doc! { "trace_id": 1 }];
        collection.create_indexes(keys.map(|keys| IndexModel::builder().keys(keys).build())).await?;
    }
    Ok(expiry)
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
