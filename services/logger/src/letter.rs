//! Dead letters, independent of protocol and store.

use uuid::Uuid;

use crate::entry::Place;

/// A dead letter without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Derived from the message by the caller. A second letter with the same id is not stored.
    pub id: Uuid,
    /// The queue whose consumer failed.
    pub queue: String,
    /// The event's id; empty when the message has none.
    pub event_id: String,
    /// The event's type.
    pub kind: String,
    /// The publisher; empty when unknown.
    pub source: String,
    /// When the event happened, in milliseconds since 1970.
    pub time_ms: Option<i64>,
    /// When it became a dead letter, in milliseconds since 1970.
    pub dead_at_ms: i64,
    /// Why it was dead-lettered; empty when unknown.
    pub reason: String,
    /// Number of attempts to handle it.
    pub attempts: u32,
    /// Id of the event's trace; empty when there is none.
    pub trace_id: String,
    /// Size of the body in bytes.
    pub size: u64,
    /// When a replay began that is running or was interrupted, in milliseconds since 1970.
    pub replaying_ms: Option<i64>,
}

/// The message as it was in RabbitMQ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Properties and headers in AMQP encoding.
    pub properties: Vec<u8>,
    /// The body; any bytes.
    pub body: Vec<u8>,
}

/// A search for letters. A filter that is `None` is not applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LetterQuery {
    /// Letters of this queue.
    pub queue: Option<String>,
    /// Letters of this event type.
    pub kind: Option<String>,
    /// Letters whose reason contains this text.
    pub reason: Option<String>,
    /// Dead-lettered at or after this time, in milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// Dead-lettered before this time, in milliseconds since 1970.
    pub to_ms: Option<i64>,
    /// Maximum number of letters.
    pub limit: usize,
    /// Letters after this place, oldest first.
    pub after: Option<Place>,
}

/// Number and age of the letters of one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stock {
    /// The queue.
    pub queue: String,
    /// Number of letters.
    pub count: u64,
    /// When the oldest was dead-lettered, in milliseconds since 1970.
    pub oldest_ms: i64,
}
