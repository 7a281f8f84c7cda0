use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::StoreError;
use crate::outbox::Message;

/// Letters of the outbox that can't be delivered.
#[async_trait]
pub trait FailedLetters: Send + Sync + 'static {
    /// Those that match, by the time at which they failed.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn failed_letters(&self, query: &FailedQuery) -> Result<Vec<FailedLetter>, StoreError>;

    /// One of them.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn failed_letter(&self, id: Uuid) -> Result<Option<FailedLetter>, StoreError>;

    /// Has a failed letter delivered again, as if it had never been tried. Returns whether the outbox has a letter of this id.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn deliver_again(&self, id: Uuid, now: Timestamp) -> Result<bool, StoreError>;

    /// Removes failed letters for good, and returns how many there were.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn remove_failed(&self, ids: &[Uuid]) -> Result<u64, StoreError>;
}

/// Which failed letters. A filter that is `None` is off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailedQuery {
    /// To this recipient.
    pub recipient: Option<String>,
    /// With this literal part in the reason.
    pub reason: Option<String>,
    /// Failed at or after this.
    pub from: Option<Timestamp>,
    /// Failed before this.
    pub to: Option<Timestamp>,
    /// Only what comes after this place: by time of failure, then by id.
    pub after: Option<(Timestamp, Uuid)>,
    /// At most so many.
    pub limit: u32,
}

/// A letter that can't be delivered.
#[derive(Debug, Clone)]
pub struct FailedLetter {
    /// Its id.
    pub id: Uuid,
    /// The service that refused it.
    pub recipient: String,
    /// What it says.
    pub message: Message,
    /// The trace context that it was written in.
    pub traceparent: Option<String>,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it was given up.
    pub failed_at: Timestamp,
    /// What the recipient said.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
}
