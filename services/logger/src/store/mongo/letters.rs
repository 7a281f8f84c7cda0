//! Dead letters in MongoDB: letters in the collection `dead_letters`, their contents in `dead_letter_contents`.
//!
//! A list reads only the first collection, so its cost does not depend on the size of the messages. A content is written before its
//! letter and deleted before it. So a letter without content is one whose removal was interrupted; a call that finds one completes
//! the removal.

mod replay;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::TryStreamExt as _;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, DateTime, Document, RawDocumentBuf, doc};
use mongodb::{Collection, IndexModel};
use tokio::sync::Semaphore;
use uuid::Uuid;
use weft_values::time::RANGE_MS;

pub use self::replay::Replay;
use super::{Cause, StoreError, detached, error, filter};
use crate::entry::Place;
use crate::letter::{Content, Letter, LetterQuery, Stock};

pub(super) const LETTERS: &str = "dead_letters";
pub(super) const CONTENTS: &str = "dead_letter_contents";
/// Maximum number of concurrent calls. Each may hold several copies of a content of 4 MiB.
pub(super) const CALLS: usize = 4;

/// Stores dead letters. Clones share the connections.
#[derive(Debug, Clone)]
pub struct MongoLetters {
    pub(super) link: Arc<OnceLock<Collection<RawDocumentBuf>>>,
    pub(super) room: Arc<Semaphore>,
    pub(super) within: Duration,
}

impl MongoLetters {
    /// Stores a letter with its content. Returns whether it is new.
    ///
    /// # Errors
    /// After an error it is unknown whether the letter is stored. The call can be repeated.
    pub async fn insert(&self, letter: Letter, content: Content) -> Result<bool, StoreError> {
        self.work(async move |all| {
            let Content { properties, body } = content;
            let content = doc! {
                "_id": letter.id.to_string(),
                "properties": binary(properties),
                "body": binary(body),
            };
            insert(&all.contents, content).await?;
            insert(&all.letters, encode(&letter)).await
        })
        .await
    }

    /// Finds letters, oldest first. Also returns where the next page begins.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self, query: LetterQuery) -> Result<(Vec<Letter>, Option<Place>), StoreError> {
        let within = self.within;
        self.work(async move |all| {
            let wanted = i64::try_from(query.limit).unwrap_or(i64::MAX).saturating_add(1);
            let found = all
                .letters
                .find(to_filter(&query))
                .sort(doc! { "dead_at": 1, "_id": 1 })
                .limit(wanted)
                .max_time(within)
                .await?;
            let mut letters: Vec<Letter> = Vec::new();
            let documents: Vec<Document> = found.try_collect().await?;
            // Documents that are not letters do not end paging.
            let more = documents.len() > query.limit;
            letters.extend(documents.iter().take(query.limit).filter_map(decode));
            let next = letters.last().filter(|_| more);
            let next = next.map(|last| Place { time_ms: last.dead_at_ms, id: last.id.to_string() });
            Ok((letters, next))
        })
        .await
    }

    /// Returns a letter with its content.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn get(&self, id: Uuid) -> Result<Option<(Letter, Content)>, StoreError> {
        self.work(async move |all| {
            let letter = all.letters.find_one(by_id(id)).await?;
            all.with_content(id, letter).await
        })
        .await
    }

    /// Removes letters. Returns how many existed.
    ///
    /// # Errors
    /// After an error some may be removed. The call can be repeated.
    pub async fn remove(&self, ids: Vec<Uuid>) -> Result<u64, StoreError> {
        self.work(async move |all| all.remove(&ids).await).await
    }

    /// Removes at most `limit` letters that were dead-lettered before `before_ms`. Returns how many.
    ///
    /// # Errors
    /// The same as [`MongoLetters::remove`].
    pub async fn remove_before(&self, before_ms: i64, limit: usize) -> Result<u64, StoreError> {
        let query = LetterQuery { to_ms: Some(before_ms), limit, ..LetterQuery::default() };
        let (letters, _) = self.list(query).await?;
        if letters.is_empty() {
            return Ok(0);
        }
        self.remove(letters.into_iter().map(|letter| letter.id).collect()).await
    }

    /// Number and age of the letters of each queue.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn stock(&self) -> Result<Vec<Stock>, StoreError> {
        self.work(async move |all| {
            let mut stock = Vec::new();
            for queue in all.letters.distinct("queue", doc! {}).await? {
                let of_queue = doc! { "queue": &queue };
                let oldest =
                    all.letters.find_one(of_queue.clone()).sort(doc! { "dead_at": 1, "_id": 1 }).await?;
                let Some(oldest) = oldest.as_ref().and_then(decode) else { continue };
                let count = all.letters.count_documents(of_queue).await?;
                stock.push(Stock { queue: oldest.queue, count, oldest_ms: oldest.dead_at_ms });
            }
            Ok(stock)
        })
        .await
    }

    async fn work<T: Send + 'static, F>(
        &self,
        work: impl FnOnce(Collections) -> F + Send + 'static,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = mongodb::error::Result<T>> + Send + 'static,
    {
        let logs = self.link.get().ok_or_else(|| StoreError::Unavailable(Cause::new("not connected yet")))?;
        let work = work(Collections::beside(logs));
        detached(&self.room, self.within, async move { work.await.map_err(error::classify) }).await
    }
}

/// The collections, with the logger's write concern.
struct Collections {
    letters: Collection<Document>,
    contents: Collection<Document>,
    replays: Collection<Document>,
}

impl Collections {
    fn beside(logs: &Collection<RawDocumentBuf>) -> Self {
        let database = logs.client().database(&logs.namespace().db);
        Self {
            letters: database.collection(LETTERS),
            contents: database.collection(CONTENTS),
            replays: database.collection(replay::REPLAYS),
        }
    }

    async fn with_content(
        &self,
        id: Uuid,
        letter: Option<Document>,
    ) -> mongodb::error::Result<Option<(Letter, Content)>> {
        let Some(letter) = letter.as_ref().and_then(decode) else { return Ok(None) };
        let content = self.contents.find_one(by_id(id)).await?;
        let Some(content) = content.and_then(to_content) else {
            self.remove(&[id]).await?;
            return Ok(None);
        };
        Ok(Some((letter, content)))
    }

    /// Replays are deleted last: a letter without its replays could be replayed a second time. All ids are deleted at once, because
    /// FerretDB reads every content for each deletion, regardless of the number of ids.
    async fn remove(&self, ids: &[Uuid]) -> mongodb::error::Result<u64> {
        let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
        let which = doc! { "_id": { "$in": &ids } };
        self.contents.delete_many(which.clone()).await?;
        let removed = self.letters.delete_many(which).await?.deleted_count;
        self.replays.delete_many(doc! { "letter": { "$in": ids } }).await?;
        Ok(removed)
    }
}

/// Creates the indexes for listing.
pub(super) async fn migrate(logs: &Collection<RawDocumentBuf>) -> mongodb::error::Result<()> {
    let keys = [
        doc! { "dead_at": 1, "_id": 1 },
        doc! { "queue": 1, "dead_at": 1, "_id": 1 },
        doc! { "type": 1, "dead_at": 1, "_id": 1 },
    ];
    let letters = Collections::beside(logs).letters;
    // One by one: FerretDB 1.24 closes the connection when several indexes of one command already exist.
    for keys in keys {
        letters.create_index(IndexModel::builder().keys(keys).build()).await?;
    }
    Ok(())
}

/// Returns whether the document is new.
async fn insert(collection: &Collection<Document>, document: Document) -> mongodb::error::Result<bool> {
    match collection.insert_one(document).await {
        Ok(_) => Ok(true),
        Err(error) if error::is_duplicate(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn by_id(id: Uuid) -> Document {
    doc! { "_id": id.to_string() }
}

fn binary(bytes: Vec<u8>) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes }
}

fn to_filter(query: &LetterQuery) -> Document {
    let LetterQuery { queue, kind, reason, from_ms, to_ms, limit: _, after } = query;
    let mut dead_at = doc! { "$gte": DateTime::from_millis(from_ms.unwrap_or(*RANGE_MS.start())) };
    if let Some(to_ms) = to_ms {
        dead_at.insert("$lt", DateTime::from_millis(*to_ms));
    }
    let mut filter = doc! { "dead_at": dead_at };
    if let Some(queue) = queue {
        filter.insert("queue", queue);
    }
    if let Some(kind) = kind {
        filter.insert("type", kind);
    }
    if let Some(reason) = reason {
        filter.insert("reason", doc! { "$regex": filter::literal(reason) });
    }
    if let Some(place) = after {
        let (time, id) = (DateTime::from_millis(place.time_ms), place.id.to_string());
        filter.insert(
            "$or",
            vec![doc! { "dead_at": { "$gt": time } }, doc! { "dead_at": time, "_id": { "$gt": id } }],
        );
    }
    filter
}

fn encode(letter: &Letter) -> Document {
    let Letter {
        id,
        queue,
        event_id,
        kind,
        source,
        time_ms,
        dead_at_ms,
        reason,
        attempts,
        trace_id,
        size,
        replaying_ms,
    } = letter;
    let moment = |ms: &i64| DateTime::from_millis(*ms);
    doc! {
        "_id": id.to_string(),
        "queue": queue,
        "event_id": event_id,
        "type": kind,
        "source": source,
        "time": time_ms.as_ref().map(moment),
        "dead_at": moment(dead_at_ms),
        "reason": reason,
        "attempts": i64::from(*attempts),
        "trace_id": trace_id,
        "size": i64::try_from(*size).unwrap_or(i64::MAX),
        "replaying_since": replaying_ms.as_ref().map(moment),
    }
}

/// `None` for a document that is not a letter.
fn decode(document: &Document) -> Option<Letter> {
    let text = |key: &str| document.get_str(key).map(str::to_owned).ok();
    let moment = |key: &str| document.get_datetime(key).map(|time| time.timestamp_millis()).ok();
    Some(Letter {
        id: document.get_str("_id").ok()?.parse().ok()?,
        queue: text("queue")?,
        event_id: text("event_id")?,
        kind: text("type")?,
        source: text("source")?,
        time_ms: moment("time"),
        dead_at_ms: moment("dead_at")?,
        reason: text("reason")?,
        attempts: u32::try_from(document.get_i64("attempts").ok()?).ok()?,
        trace_id: text("trace_id")?,
        size: u64::try_from(document.get_i64("size").ok()?).ok()?,
        replaying_ms: moment("replaying_since"),
    })
}

fn to_content(mut document: Document) -> Option<Content> {
    let mut bytes = |key: &str| match document.remove(key)? {
        mongodb::bson::Bson::Binary(binary) => Some(binary.bytes),
        _ => None,
    };
    Some(Content { properties: bytes("properties")?, body: bytes("body")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_round_trips() {
        let mut letter = Letter {
            id: Uuid::from_u128(7),
            queue: "listener.log".into(),
            event_id: "a\0b".into(),
            kind: "log.INFO".into(),
            source: String::new(),
            time_ms: None,
            dead_at_ms: -1,
            reason: "ünïcödé \u{10ffff} $.".into(),
            attempts: u32::MAX,
            trace_id: String::new(),
            size: 5,
            replaying_ms: None,
        };
        assert_eq!(decode(&encode(&letter)).unwrap(), letter);
        letter.time_ms = Some(*RANGE_MS.start());
        letter.replaying_ms = Some(*RANGE_MS.end());
        assert_eq!(decode(&encode(&letter)).unwrap(), letter);
        assert_eq!(decode(&doc! { "_id": "7", "name": "not a letter" }), None);
    }

    #[test]
    fn omits_filters_that_are_not_set() {
        let filter = to_filter(&LetterQuery::default());
        assert_eq!(filter.keys().collect::<Vec<_>>(), ["dead_at"]);
    }
}
