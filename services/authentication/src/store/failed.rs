use jiff::Timestamp;
use uuid::Uuid;

use crate::outbox::Message;

/// Filter and page of failed letters. `None` matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailedQuery {
    pub recipient: Option<String>,
    /// A literal part of the reason.
    pub reason: Option<String>,
    /// Failed at or after this time.
    pub from: Option<Timestamp>,
    /// Failed before this time.
    pub to: Option<Timestamp>,
    /// Begin after this place, which is the time of failure and the id of the last letter of the previous page.
    pub after: Option<(Timestamp, Uuid)>,
    pub limit: u32,
}

/// A letter that could not be delivered.
#[derive(Debug, Clone)]
pub struct FailedLetter {
    pub id: Uuid,
    pub recipient: String,
    pub message: Message,
    /// Trace context of the change.
    pub traceparent: Option<String>,
    pub created_at: Timestamp,
    /// When delivery was given up.
    pub failed_at: Timestamp,
    /// The last error.
    pub reason: String,
    /// Number of delivery attempts.
    pub attempts: u32,
}
