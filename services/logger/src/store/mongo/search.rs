//! A search, page by page.

use futures::TryStreamExt as _;
use mongodb::Collection;
use mongodb::bson::{RawDocumentBuf, doc};

use super::lane::Limit;
use super::{REPLY_DOCUMENTS, document, filter};
use crate::entry::{Page, Query};
use crate::paging::Builder;
use crate::store::StoreError;

/// Documents read beyond the first reply when some in it are not entries. Then the page ends, empty or not, and its cursor moves on.
const READ_ON: usize = 1_000;

/// How reading ended.
enum End {
    /// There are no more documents.
    Documents,
    /// The page is full.
    Page,
    /// As many documents were read as were asked for, and the page has room.
    Limit,
}

/// A page of a search.
pub(super) async fn run(
    collection: &Collection<RawDocumentBuf>,
    query: Query,
    limit: &Limit,
) -> Result<Page, StoreError> {
    let mut page = Builder::new(query.limit, query.after.clone());
    let mut foreign = Foreign::default();
    let mut end = End::Limit;
    // One more than the page holds tells whether there is a next page.
    for most in [query.limit.saturating_add(1), READ_ON] {
        end = read(collection, &query, most, limit, &mut page, &mut foreign).await?;
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
    most: usize,
    limit: &Limit,
    page: &mut Builder,
    foreign: &mut Foreign,
) -> Result<End, StoreError> {
    let mut cursor = collection
        .find(filter::of(query, page.passed()))
        .sort(doc! { "time": -1, "_id": -1 })
        .limit(i64::try_from(most).unwrap_or(i64::MAX))
        .batch_size(REPLY_DOCUMENTS)
        .max_time(limit.left()?)
        .await
        .map_err(|error| limit.classify(error))?;
    let mut documents = 0;
    while let Some(document) = cursor.try_next().await.map_err(|error| limit.classify(error))? {
        // Ends the search, and by that the server's cursor, also when its caller has left.
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
    Ok(if documents < most { End::Documents } else { End::Limit })
}

/// Documents that are not entries.
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

    /// One line for all of a page.
    fn report(self) {
        if let Some(error) = self.first {
            tracing::warn!(documents = self.count, first = %error, "skipped documents that are not log entries");
        }
    }
}
