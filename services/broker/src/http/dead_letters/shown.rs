//! A dead letter as JSON.

use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use utoipa::ToSchema;
use weft_proto::weft::deadletter::v1::Letter;

use crate::reply::ApiError;

/// An event that could not be handled, without its body.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct DeadLetter {
    /// The queue whose consumer could not handle the event.
    queue: String,
    /// The id of the dead letter.
    id: String,
    /// The id of the event; null when it has none.
    #[schema(required = true)]
    event_id: Option<String>,
    r#type: String,
    /// The event's source; empty when the message has none.
    source: String,
    /// The event's time; null when the message has none.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    time: Option<Timestamp>,
    /// When the event became a dead letter.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    dead_at: Option<Timestamp>,
    /// Why the event could not be handled; null when unknown.
    #[schema(required = true)]
    reason: Option<String>,
    attempts: u32,
    #[schema(required = true)]
    trace_id: Option<String>,
    /// Size of the body in bytes.
    size: u64,
    /// When a replay started that is running or was interrupted, so that the event may have been published; otherwise null.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    replaying_since: Option<Timestamp>,
}

/// A dead letter with its body.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct DeadLetterWithData {
    #[serde(flatten)]
    letter: DeadLetter,
    /// The body as JSON, or as text if it is not JSON.
    #[schema(value_type = serde_json::Value)]
    data: Box<RawValue>,
}

impl From<Letter> for DeadLetter {
    fn from(letter: Letter) -> Self {
        let Letter {
            id,
            queue,
            event_id,
            r#type,
            source,
            time,
            dead_at,
            reason,
            attempts,
            trace_id,
            size,
            replaying_since,
        } = letter;
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        let time_of = |time: Option<prost_types::Timestamp>| {
            time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok())
        };
        Self {
            queue,
            id,
            event_id: text(event_id),
            r#type,
            source,
            time: time_of(time),
            dead_at: time_of(dead_at),
            reason: text(reason),
            attempts,
            trace_id: text(trace_id),
            size,
            replaying_since: time_of(replaying_since),
        }
    }
}

impl DeadLetterWithData {
    pub(super) fn new(letter: Letter, body: Vec<u8>) -> Result<Self, ApiError> {
        Ok(Self { letter: letter.into(), data: to_json(body)? })
    }
}

/// Returns the body unchanged if it is JSON, otherwise as a JSON string. Does not build a tree of values, because a body may have
/// millions of them.
fn to_json(body: Vec<u8>) -> Result<Box<RawValue>, ApiError> {
    let body = match String::from_utf8(body) {
        Ok(text) => match serde_json::from_str::<Box<RawValue>>(&text) {
            Ok(json) => return Ok(json),
            Err(_) => text,
        },
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    to_raw_value(&body)
        .map_err(|_| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "failed to write the body as JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_a_body_that_is_not_json_as_text() {
        let shown = |body: &[u8]| to_json(body.to_vec()).unwrap().get().to_owned();
        assert_eq!(shown(br#"{"to":1e999}"#), r#"{"to":1e999}"#);
        assert_eq!(shown(b"{\"to\":"), r#""{\"to\":""#);
        assert_eq!(shown(b"\xff"), "\"\u{fffd}\"");
        assert_eq!(shown(b""), r#""""#);
    }
}
