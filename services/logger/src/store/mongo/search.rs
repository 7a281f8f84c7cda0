//! Runs a search for one page.

use futures::TryStreamExt as _;
use mongodb::Collection;
use mongodb::bson::{RawDocumentBuf, doc};

use super::lane::Limit;
use super::{REPLY_DOCUMENTS, document, filter};
use crate::entry::{Page, Query};
use crate::paging::Builder;
use crate::store::StoreError;

/// How many more documents are read when some are not entries. After that the page ends, even if it is empty, with a cursor.
const READ_MORE: usize = 1_000;

/// How reading ended.
enum End {
    /// There are no more documents.
    Documents,
    /// The page is full.
    Page,
    /// The limit of documents is reached, and the page is not full.
    Limit,
}

/// Reads one page.
pub(super) async fn run(
    collection: &Collection<RawDocumentBuf>,
    query: Query,
    limit: &Limit,
) -> Result<Page, StoreError> {
    let mut page = Builder::new(query.limit, query.after.clone());
    let mut foreign = Foreign::default();
    let mut end = End::Limit;
    // One document more than the page holds shows whether there is a next page.
    for max_documents in [query.limit.saturating_add(1), READ_MORE] {
        end = read(collection, &query, max_documents, limit, &mut page, &mut foreign).await?;
        if !matches!(end, End::Limit) {
            break;
        }
    }
    foreign.report();
    Ok(match end {
        End::Documents => page.last(),
        End::Page | End::Limit => page.followed(),
    })
}

async fn read(
    collection: &Collection<RawDocumentBuf>,
    query: &Query,
    max_documents: usize,
    limit: &Limit,
    page: &mut Builder,
    foreign: &mut Foreign,
) -> Result<End, StoreError> {
    let mut cursor = collection
        .find(filter::of(query, page.passed()))
        .sort(doc! { "time": -1, "_id": -1 })
        .limit(i64::try_from(max_documents).unwrap_or(i64::MAX))
        .batch_size(REPLY_DOCUMENTS)
        .max_time(limit.left()?)
        .await
        .map_err(|error| limit.classify(error))?;
    let mut documents = 0;
    while let Some(document) = cursor.try_next().await.map_err(|error| limit.classify(error))? {
        // Ends the search, and with it the server's cursor, at the deadline or when the caller has gone.
        limit.left()?;
        documents += 1;
        match document::decode(&document) {
            Ok(entry) => {
                if page.add(entry).is_break() {
                    return Ok(End::Page);
                }
            }
            Err(error) => foreign.add(error),
        }
        if let Some(place) = document::place(&document) {
            page.pass(place);
        }
    }
    Ok(if documents < max_documents { End::Documents } else { End::Limit })
}

/// Counts documents that are not entries.
#[derive(Default)]
struct Foreign {
    count: usize,
    first: Option<document::DecodeError>,
}

impl Foreign {
    fn add(&mut self, error: document::DecodeError) {
        self.count += 1;
        self.first.get_or_insert(error);
    }

    /// Logs one line for the page.
    fn report(self) {
        if let Some(error) = self.first {
            tracing::warn!(documents = self.count, first = %error, "skipped documents that are not log entries");
        }
    }
}
