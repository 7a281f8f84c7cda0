//! Inserts entries, some of which may already be stored.
//!
//! FerretDB 1.24 stores a batch in one transaction. If an id of the batch exists, it starts again and stores the documents one by
//! one, each with a flush to disk (`internal/handler/msg_insert.go`). So a large batch with one repeat may take longer than its
//! callers wait; they repeat, and the next batches consist of repeats. Therefore, when repeats are to be expected, the ids are
//! looked up first, and only the missing ones are inserted.

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream};
use mongodb::Collection;
use mongodb::bson::{RawDocumentBuf, doc};
use mongodb::options::{ReadPreference, SelectionCriteria};

use super::{Cause, document, error};
use crate::store::{Inserted, StoreError};

/// Documents without a result yet, by id. Several have the same id if a call and its repeat are in one group.
type Pending<'a> = BTreeMap<&'a str, Vec<usize>>;

/// Inserts the documents whose ids are not stored, and compares the others with the stored ones. Returns one result for each, in
/// order. With `look_up`, looks all ids up first, that many at once.
///
/// # Errors
/// After an error it is unknown which documents are stored. The call can be repeated.
pub(super) async fn insert(
    collection: &Collection<RawDocumentBuf>,
    documents: &[RawDocumentBuf],
    look_up: Option<usize>,
) -> Result<Vec<Inserted>, StoreError> {
    let mut pending = Pending::new();
    for (index, document) in documents.iter().enumerate() {
        let id = document.get_str("_id").map_err(|error| StoreError::Failed(Cause::new(error)))?;
        pending.entry(id).or_default().push(index);
    }
    // An id that the store reports as a duplicate, and that is not found then, was deleted by retention: it counts as a repeat.
    let mut results = vec![Inserted::AlreadyThere; documents.len()];
    if let Some(at_once) = look_up {
        compare(collection, documents, &mut pending, &mut results, at_once).await?;
    }
    let new: Vec<&RawDocumentBuf> =
        pending.values().filter_map(|same| documents.get(*same.first()?)).collect();
    for (same, inserted) in pending.values_mut().zip(insert_all(collection, &new).await?) {
        match inserted {
            Inserted::Created => results[same.remove(0)] = inserted,
            Inserted::Refused(_) => same.drain(..).for_each(|index| results[index] = inserted.clone()),
            Inserted::AlreadyThere | Inserted::Conflict => {}
        }
    }
    pending.retain(|_, same| !same.is_empty());
    compare(collection, documents, &mut pending, &mut results, 1).await?;
    Ok(results)
}

/// Inserts documents, also if some of their ids are stored. Returns one result for each, in order; contents are not compared.
///
/// # Errors
/// As for [`insert`].
pub(super) async fn insert_all(
    collection: &Collection<RawDocumentBuf>,
    documents: &[&RawDocumentBuf],
) -> Result<Vec<Inserted>, StoreError> {
    if documents.is_empty() {
        return Ok(Vec::new());
    }
    let outcome = match collection.insert_many(documents.iter().copied()).ordered(false).await {
        // Ids make the insert idempotent, so it is repeated on another connection.
        Err(error) if error::connection_lost(&error) => {
            collection.insert_many(documents.iter().copied()).ordered(false).await
        }
        outcome => outcome,
    };
    error::inserted(documents.len(), outcome.map(drop))
}

/// Looks up the pending ids, that many at once. Those that are found are no longer pending: they are repeats or, if the content
/// differs, conflicts.
async fn compare(
    collection: &Collection<RawDocumentBuf>,
    documents: &[RawDocumentBuf],
    pending: &mut Pending<'_>,
    results: &mut [Inserted],
    at_once: usize,
) -> Result<(), StoreError> {
    let mut lookups = Vec::with_capacity(pending.len());
    for (id, same) in &*pending {
        lookups.push(look_up(collection, id, documents, same));
    }
    // All run to their end, because the driver's futures must not be dropped.
    let found: Vec<_> = stream::iter(lookups).buffer_unordered(at_once).collect().await;
    for one in found {
        for (index, result) in one? {
            results[index] = result;
            pending.remove(documents[index].get_str("_id").unwrap_or_default());
        }
    }
    Ok(())
}

/// The results of documents with the same id if it is stored, or nothing.
///
/// Each id has a lookup of its own, because FerretDB uses its index for one id, and scans the collection for several.
async fn look_up(
    collection: &Collection<RawDocumentBuf>,
    id: &str,
    documents: &[RawDocumentBuf],
    same: &[usize],
) -> Result<Vec<(usize, Inserted)>, StoreError> {
    let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
    let found = collection.find_one(doc! { "_id": id }).selection_criteria(primary).await;
    let Some(stored) = found.map_err(error::classify)? else { return Ok(Vec::new()) };
    let compared = same.iter().map(|index| match document::same_content(&documents[*index], &stored) {
        true => (*index, Inserted::AlreadyThere),
        false => (*index, Inserted::Conflict),
    });
    Ok(compared.collect())
}
