//! Dead letters, apart from any protocol or store.

use uuid::Uuid;

use crate::entry::Place;

/// What is known about a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Derived from the message by the caller: a second letter of the same id is not stored.
    pub id: Uuid,
    /// The queue whose consumer could not handle the event.
    pub queue: String,
    /// The event's id; empty when the message has none.
    pub event_id: String,
    /// The event's type.
    pub kind: String,
    /// Who published it; empty when unknown.
    pub source: String,
    /// When the event happened, in milliseconds since 1970.
    pub time_ms: Option<i64>,
    /// When it became a dead letter, in milliseconds since 1970.
    pub dead_at_ms: i64,
    /// Why; empty when unknown.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
    /// The trace that it belongs to; empty when there is none.
    pub trace_id: String,
    /// Bytes of its body.
    pub size: u64,
    /// When the last replay began, in milliseconds since 1970.
    pub replaying_ms: Option<i64>,
}

/// A message as RabbitMQ had it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Properties and headers, in AMQP's own encoding.
    pub properties: Vec<u8>,
    /// Any bytes.
    pub body: Vec<u8>,
}

/// Which letters are wanted. A filter that is `None` is off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LetterQuery {
    /// Of this queue.
    pub queue: Option<String>,
    /// Of this type.
    pub kind: Option<String>,
    /// With this literal part in the reason.
    pub reason: Option<String>,
    /// Dead at or after this moment, in milliseconds since 1970.
    pub from_ms: Option<i64>,
    /// Dead before this moment, in milliseconds since 1970.
    pub to_ms: Option<i64>,
    /// At most so many.
    pub limit: usize,
    /// Only what comes after this place, oldest first.
    pub after: Option<Place>,
}

/// The letters of one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stock {
    /// Whose.
    pub queue: String,
    /// How many.
    pub count: u64,
    /// When the oldest died, in milliseconds since 1970.
    pub oldest_ms: i64,
}
