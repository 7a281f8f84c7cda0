//! Replays of dead letters: of several calls for one letter, one starts a replay.
//!
//! Replays of a letter are numbered. A call that wants to start one inserts a document with the letter's id and the next number into
//! `dead_letter_replays`; of several inserts with one `_id`, one succeeds. Then the letter is marked. A conditional update of the letter
//! would not do, because FerretDB 1.24 reads and writes in two steps.

use mongodb::bson::{Bson, DateTime, Document, doc};
use uuid::Uuid;
use weft_proto::weft::deadletter::REPLAY_TIMEOUT;

use super::{Collections, MongoLetters, StoreError, by_id, decode, insert};
use crate::letter::{Content, Letter};

pub(super) const REPLAYS: &str = "dead_letter_replays";

/// The result of a call that starts a replay.
#[derive(Debug)]
pub enum Replay {
    /// The caller publishes the letter.
    Started(Box<(Letter, Content)>),
    /// An earlier replay may still be running.
    Running,
}

impl MongoLetters {
    /// Starts a replay of a letter and marks the letter. Returns `None` if the letter is not found.
    ///
    /// # Errors
    /// After an error the replay may have been started.
    pub async fn replay(&self, id: Uuid, now_ms: i64) -> Result<Option<Replay>, StoreError> {
        self.work(async move |all| all.replay(id, now_ms).await).await
    }

    /// Ends a replay whose event was not published.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn release(&self, id: Uuid) -> Result<(), StoreError> {
        let unmark = doc! { "$set": { "replaying_since": Bson::Null } };
        self.work(async move |all| all.letters.update_one(by_id(id), unmark).await.map(drop)).await
    }
}

impl Collections {
    async fn replay(&self, id: Uuid, now_ms: i64) -> mongodb::error::Result<Option<Replay>> {
        let Some(found) = self.letters.find_one(by_id(id)).await? else { return Ok(None) };
        if decode(&found).is_some_and(|letter| is_running(&letter, now_ms)) {
            return Ok(Some(Replay::Running));
        }
        let number = found.get_i64("replays").unwrap_or_default();
        let key = format!("{id}/{number}");
        let replay = doc! { "_id": &key, "letter": id.to_string(), "since": DateTime::from_millis(now_ms) };
        if !insert(&self.replays, replay).await? {
            // The other call may have stopped before it marked the letter.
            if let Some(other) = self.replays.find_one(doc! { "_id": key }).await? {
                self.mark(id, number, other.get_datetime("since").ok().copied()).await?;
            }
            return Ok(Some(Replay::Running));
        }
        self.mark(id, number, Some(DateTime::from_millis(now_ms))).await?;
        let Some(marked) = self.letters.find_one(by_id(id)).await? else {
            // Removed since it was found.
            self.remove(&[id]).await?;
            return Ok(None);
        };
        let letter = self.with_content(id, Some(marked)).await?;
        Ok(letter.map(|letter| Replay::Started(Box::new(letter))))
    }

    async fn mark(&self, id: Uuid, number: i64, since: Option<DateTime>) -> mongodb::error::Result<()> {
        let mark: Document = doc! { "replaying_since": since, "replays": number.saturating_add(1) };
        self.letters.update_one(by_id(id), doc! { "$set": mark }).await.map(drop)
    }
}

fn is_running(letter: &Letter, now_ms: i64) -> bool {
    let timeout_ms = i64::try_from(REPLAY_TIMEOUT.as_millis()).unwrap_or(i64::MAX);
    letter.replaying_ms.is_some_and(|since_ms| now_ms.saturating_sub(since_ms) < timeout_ms)
}
