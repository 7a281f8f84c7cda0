use jiff::Timestamp;
use uuid::Uuid;

use crate::outbox::Message;

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
