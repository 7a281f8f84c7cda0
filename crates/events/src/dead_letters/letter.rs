//! A message of a dead-letter queue, as a [`DeadLetter`].

use jiff::Timestamp;
use lapin::{BasicProperties, message::Delivery, protocol::basic::gen_properties};
use uuid::{Uuid, uuid};

use super::death::Death;
use crate::{Queue, decode, headers, headers::Headers};

/// The UUID namespace of letter ids.
const NAMESPACE: Uuid = uuid!("6f3c9d1e-58a4-5c1b-9f0e-2d7b64a0c8e3");
/// Headers that RabbitMQ changes at each delivery. They are left out, so that a letter delivered twice gets the same id.
const CHANGES_BY_DELIVERY: [&str; 2] = ["x-delivery-count", "x-acquired-count"];
/// Longer texts, which other publishers may write, are truncated: a list of letters must stay small.
const MAX_TEXT_BYTES: usize = 255;
const MAX_REASON_BYTES: usize = 1024;

/// A message that could not be handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Derived from queue, properties, headers and body: the same for each delivery of one message.
    pub id: Uuid,
    /// The queue whose consumer could not handle it.
    pub queue: Queue,
    /// The event's id, if the message has one.
    pub event_id: Option<String>,
    /// Event type: the routing key of the first publication, such as `log.INFO`.
    pub kind: String,
    /// The publisher; empty for a message without CloudEvents headers.
    pub source: String,
    /// Time of the event, if the message has one.
    pub time: Option<Timestamp>,
    /// When the message became a dead letter. If the message does not have this time: when it was read.
    pub dead_at: Timestamp,
    /// Why it was dead-lettered. `None` if another program published the message to the dead-letter queue.
    pub reason: Option<String>,
    /// Number of attempts to handle it.
    pub attempts: u32,
    /// Id of the event's trace.
    pub trace_id: Option<String>,
    /// Properties and headers in AMQP encoding.
    pub properties: Vec<u8>,
    /// The body; any bytes.
    pub body: Vec<u8>,
}

impl DeadLetter {
    pub(super) fn read(queue: Queue, delivery: Delivery, now: Timestamp) -> Self {
        let all = Headers::of(delivery.properties.headers().as_ref());
        let deaths = Death::latest_and_first(&all);
        let kind = kind(&all, deaths.as_ref(), &delivery);
        let event_id = decode::id_of(&delivery.properties, &all);
        let time = decode::time_of(&delivery.properties, &all);
        let dead_at_header = all.text(headers::DEAD_AT).and_then(|text| text.parse().ok());
        let dead_at = dead_at_header.or_else(|| deaths.as_ref()?.0.at).unwrap_or(now);
        let latest = deaths.map(|(latest, _)| latest).unwrap_or_default();
        let reason = all.text(headers::DEAD_REASON).map(ToOwned::to_owned).or_else(|| latest.reason());
        let attempts = all.count(headers::ATTEMPTS).saturating_add(latest.attempts());
        let source = truncate(all.text(headers::SOURCE).unwrap_or_default(), MAX_TEXT_BYTES);
        let trace_id = all.text("traceparent").and_then(trace_id);
        let properties = encode(&delivery.properties, all.without(&CHANGES_BY_DELIVERY));
        Self {
            id: derive_id(queue, &properties, &delivery.data),
            queue,
            event_id,
            kind,
            source,
            time,
            dead_at,
            reason: reason.map(|reason| truncate(&reason, MAX_REASON_BYTES)),
            attempts,
            trace_id,
            properties,
            body: delivery.data,
        }
    }

    /// Size of properties and body.
    #[must_use]
    pub fn content_bytes(&self) -> usize {
        self.properties.len() + self.body.len()
    }
}

/// The event's type: from the header, otherwise the routing key of the first publication.
fn kind(headers: &Headers, deaths: Option<&(Death, Death)>, delivery: &Delivery) -> String {
    let first_key = deaths.map(|(_, first)| first.key.clone());
    let first_key = first_key.filter(|key| (1..=decode::MAX_NAME_BYTES).contains(&key.len()));
    decode::kind_of(headers).or(first_key).unwrap_or_else(|| delivery.routing_key.to_string())
}

fn encode(properties: &BasicProperties, headers: Headers) -> Vec<u8> {
    let has_headers = properties.headers().is_some();
    let mut properties = properties.clone();
    if has_headers {
        properties = properties.with_headers(headers.into_table());
    }
    // Encoding properties that were decoded before, into memory, can't fail.
    gen_properties(&properties)(Vec::new().into()).map(|written| written.write).unwrap_or_default()
}

fn derive_id(queue: Queue, properties: &[u8], body: &[u8]) -> Uuid {
    let of_queue = Uuid::new_v5(&NAMESPACE, queue.name().as_bytes());
    Uuid::new_v5(&Uuid::new_v5(&of_queue, properties), body)
}

/// The trace id in a W3C `traceparent`.
fn trace_id(traceparent: &str) -> Option<String> {
    let id = traceparent.split('-').nth(1)?;
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let valid = id.len() == 32 && id.bytes().all(digit) && id.bytes().any(|byte| byte != b'0');
    valid.then(|| id.to_owned())
}

fn truncate(text: &str, max_bytes: usize) -> String {
    text.get(..text.floor_char_boundary(max_bytes)).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use lapin::types::{AMQPValue, FieldTable};

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn letter(body: &[u8], headers: FieldTable) -> DeadLetter {
        let mut delivery =
            Delivery::mock(1, "events.dead".into(), "listener.log".into(), false, body.to_vec());
        delivery.properties = BasicProperties::default().with_headers(headers);
        DeadLetter::read(Queue::Log, delivery, NOW)
    }

    fn death(reason: &str, key: &str) -> AMQPValue {
        let mut table = FieldTable::default();
        table.insert("reason".into(), AMQPValue::LongString(reason.into()));
        let keys = vec![AMQPValue::LongString(key.into())];
        table.insert("routing-keys".into(), AMQPValue::FieldArray(keys.into()));
        table.insert("time".into(), AMQPValue::Timestamp(86_400));
        AMQPValue::FieldTable(table)
    }

    fn with(name: &str, value: AMQPValue) -> FieldTable {
        let mut table = FieldTable::default();
        table.insert(name.into(), value);
        table
    }

    #[test]
    fn derives_the_id_from_headers_and_body_but_not_from_the_delivery_count() {
        let text = |value: &str| AMQPValue::LongString(value.into());
        let first = letter(b"{}", with("weft-dead-at", text("2026-01-02T03:04:05Z")));
        let mut again = with("weft-dead-at", text("2026-01-02T03:04:05Z"));
        again.insert("x-delivery-count".into(), AMQPValue::LongLongInt(7));
        assert_eq!(letter(b"{}", again), first);
        assert_ne!(letter(b"{}", with("weft-dead-at", text("2026-01-02T03:04:06Z"))).id, first.id);
        assert_ne!(letter(b"{ }", with("weft-dead-at", text("2026-01-02T03:04:05Z"))).id, first.id);
        assert_eq!(first.dead_at.to_string(), "2026-01-02T03:04:05Z");
    }

    #[test]
    fn reads_type_reason_and_attempts_from_x_death() {
        let deaths = vec![death("delivery_limit", "listener.log"), death("expired", "log.INFO")];
        let letter = letter(b"{}", with("x-death", AMQPValue::FieldArray(deaths.into())));
        assert_eq!(letter.dead_at.to_string(), "1970-01-02T00:00:00Z");
        assert_eq!((letter.kind.as_str(), letter.attempts), ("log.INFO", 21));
        assert!(letter.reason.unwrap().contains("more than 20 times"));
    }

    #[test]
    fn accepts_any_body_and_headers_without_a_reason() {
        let letter = letter(b"\xff", with("x-death", AMQPValue::Boolean(true)));
        assert_eq!((letter.reason, letter.attempts, letter.time, letter.dead_at), (None, 0, None, NOW));
        assert_eq!((letter.kind.as_str(), letter.body.as_slice()), ("listener.log", &b"\xff"[..]));
    }

    #[test]
    fn truncates_long_texts_and_reads_the_trace_id() {
        let mut headers = with("weft-dead-reason", AMQPValue::LongString("é".repeat(50_000).into()));
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let parent = format!("00-{trace}-b7ad6b7169203331-01");
        headers.insert("traceparent".into(), AMQPValue::LongString(parent.into()));
        let letter = letter(b"", headers);
        assert_eq!(letter.reason.unwrap().len(), MAX_REASON_BYTES);
        assert_eq!(letter.trace_id.as_deref(), Some(trace));
        for invalid in ["", "00", "00-xyz-1-01", &format!("00-{}-b7ad6b7169203331-01", "0".repeat(32))] {
            assert_eq!(trace_id(invalid), None, "{invalid}");
        }
    }
}
