//! An event on its way out and on its way in: CloudEvents 1.0, attributes in the headers, data in the body.

use jiff::Timestamp;
use lapin::{BasicProperties, types::ShortString};
use serde::{Serialize, de::DeserializeOwned};

use crate::{MAX_BODY_BYTES, headers, headers::Headers};

const JSON: &str = "application/json";
const PERSISTENT: u8 = 2;

/// An event to publish.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Made by the caller, once: a repeat with the same id is the same event. At most 255 bytes.
    pub id: String,
    /// What happened; also the routing key, such as `log.INFO`. At most 255 bytes.
    pub kind: String,
    /// Who says so.
    pub source: String,
    /// When it happened.
    pub time: Timestamp,
    /// JSON.
    pub data: Vec<u8>,
}

/// Why an event can't be published at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// An attribute that AMQP keeps in a short string is empty or too long.
    #[error("the event's {field} has {bytes} bytes: it wants 1 to 255")]
    Length {
        /// Which one.
        field: &'static str,
        /// What it has.
        bytes: usize,
    },
    /// The body is too large.
    #[error("the event's data has {bytes} bytes: at most {MAX_BODY_BYTES} are taken")]
    TooLarge {
        /// What it has.
        bytes: usize,
    },
}

impl Event {
    /// An event whose data is this value as JSON.
    ///
    /// # Errors
    /// When the value can't be written as JSON.
    pub fn json<T: Serialize>(
        id: String,
        kind: String,
        source: String,
        time: Timestamp,
        data: &T,
    ) -> serde_json::Result<Self> {
        Ok(Self { id, kind, source, time, data: serde_json::to_vec(data)? })
    }

    pub(crate) fn key(&self) -> Result<ShortString, EventError> {
        short("type", &self.kind)
    }

    pub(crate) fn properties(&self, mut headers: Headers) -> Result<BasicProperties, EventError> {
        if self.data.len() > MAX_BODY_BYTES {
            return Err(EventError::TooLarge { bytes: self.data.len() });
        }
        let id = short("id", &self.id)?;
        short("source", &self.source)?;
        headers.set_text(headers::SPEC_VERSION, "1.0");
        headers.set_text(headers::ID, &self.id);
        headers.set_text(headers::TYPE, &self.kind);
        headers.set_text(headers::SOURCE, &self.source);
        headers.set_text(headers::TIME, &self.time.to_string());
        Ok(BasicProperties::default()
            .with_content_type(JSON.into())
            .with_delivery_mode(PERSISTENT)
            .with_message_id(id)
            .with_headers(headers.into_table()))
    }
}

fn short(field: &'static str, value: &str) -> Result<ShortString, EventError> {
    let wrong = EventError::Length { field, bytes: value.len() };
    if value.is_empty() { Err(wrong) } else { ShortString::try_new(value).map_err(|_| wrong) }
}

/// An event as a handler gets it.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// The publisher's id, or one that the consumer made for a message that had none.
    pub id: String,
    /// The first routing key that it was published with, such as `log.INFO`.
    pub kind: String,
    /// Who says so; empty in a plain message.
    pub source: String,
    /// When it happened; for a plain message, when it was first handled.
    pub time: Timestamp,
    /// The body.
    pub data: Vec<u8>,
    /// How often it was tried before without success.
    pub attempts: u32,
    /// How many of these attempts failed although everything could be reached.
    pub failures: u32,
    /// How many of these attempts ended with an unknown outcome.
    pub unknowns: u32,
    /// When it was first tried.
    pub first_attempt: Timestamp,
}

impl Received {
    /// The data as a value.
    ///
    /// # Errors
    /// In words that name the field that is wrong: they are the reason to reject the event with.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        let mut json = serde_json::Deserializer::from_slice(&self.data);
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            let field = if path == "." { String::new() } else { format!(" at field `{path}`") };
            format!("the data does not have the wanted shape{field}: {}", error.inner())
        })?;
        json.end().map_err(|error| format!("the data has more than one JSON value: {error}"))?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        let data = serde_json::json!({ "name": "n" });
        Event::json("1".into(), "log.INFO".into(), "broker".into(), Timestamp::UNIX_EPOCH, &data).unwrap()
    }

    #[test]
    fn attributes_are_headers_and_the_message_is_persistent() {
        let properties = event().properties(Headers::default()).unwrap();
        let headers = Headers::of(properties.headers().as_ref());
        assert_eq!(headers.text(headers::ID), Some("1"));
        assert_eq!(headers.text(headers::TYPE), Some("log.INFO"));
        assert_eq!(headers.text(headers::SOURCE), Some("broker"));
        assert_eq!(headers.text(headers::SPEC_VERSION), Some("1.0"));
        assert_eq!(headers.text(headers::TIME), Some("1970-01-01T00:00:00Z"));
        assert_eq!(properties.message_id().as_ref().map(ShortString::as_str), Some("1"));
        assert_eq!(properties.content_type().as_ref().map(ShortString::as_str), Some(JSON));
        assert_eq!(*properties.delivery_mode(), Some(PERSISTENT));
    }

    #[test]
    fn what_amqp_can_not_carry_is_refused_before_it_is_sent() {
        let properties = |event: Event| event.properties(Headers::default());
        let long = "x".repeat(256);
        let wrong = properties(Event { id: long.clone(), ..event() }).unwrap_err();
        assert_eq!(wrong.to_string(), "the event's id has 256 bytes: it wants 1 to 255");
        assert!(Event { kind: long, ..event() }.key().is_err());
        assert!(Event { kind: String::new(), ..event() }.key().is_err());
        let large = Event { data: vec![b' '; MAX_BODY_BYTES + 1], ..event() };
        assert_eq!(properties(large).unwrap_err(), EventError::TooLarge { bytes: MAX_BODY_BYTES + 1 });
    }

    #[derive(Debug, serde::Deserialize)]
    struct Entry {
        #[expect(dead_code, reason = "only its reading is looked at")]
        name: String,
    }

    fn reason(data: &str) -> String {
        let received = Received {
            id: String::new(),
            kind: String::new(),
            source: String::new(),
            time: Timestamp::UNIX_EPOCH,
            data: data.into(),
            attempts: 0,
            failures: 0,
            unknowns: 0,
            first_attempt: Timestamp::UNIX_EPOCH,
        };
        received.json::<Entry>().unwrap_err()
    }

    #[test]
    fn a_reason_names_the_field() {
        assert_eq!(
            reason(r#"{"name":5}"#),
            "the data does not have the wanted shape at field `name`: invalid type: integer `5`, expected a string at line 1 column 9"
        );
        assert!(reason(r#"{"name":null}"#).contains("`name`"));
        assert!(reason("{}").contains("missing field `name`"));
        assert!(reason(r#"{"name":"a"} {}"#).contains("more than one JSON value"));
        assert!(reason(r#"{"name":"a","name":"b"}"#).contains("duplicate field `name`"));
        assert!(reason(&"[".repeat(50_000)).contains("wanted shape"));
    }
}
