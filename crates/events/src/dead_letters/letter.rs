//! What a message in a dead-letter queue says of itself.

use jiff::Timestamp;
use lapin::message::Delivery;
use uuid::{Uuid, uuid};

use super::{DeadLetter, death::Death};
use crate::{Queue, decode, headers, headers::Headers};

/// What ids of messages without one are made in.
const NAMESPACE: Uuid = uuid!("6f3c9d1e-58a4-5c1b-9f0e-2d7b64a0c8e3");

/// A dead letter in our hands.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) headers: Headers,
    pub(super) delivery: Delivery,
    deaths: Option<(Death, Death)>,
}

impl Found {
    pub(super) fn new(delivery: Delivery) -> Self {
        let headers = Headers::of(delivery.properties.headers().as_ref());
        let deaths = Death::latest_and_first(&headers);
        let first_key = deaths.as_ref().map(|(_, first)| first.key.clone());
        let first_key = first_key.filter(|key| (1..=decode::MAX_NAME_BYTES).contains(&key.len()));
        let kind =
            decode::kind_of(&headers).or(first_key).unwrap_or_else(|| delivery.routing_key.to_string());
        let id =
            decode::id_of(&delivery.properties, &headers).unwrap_or_else(|| derived(&kind, &delivery.data));
        Self { id, kind, headers, delivery, deaths }
    }

    /// When it became a dead letter, as far as anybody has written that down.
    pub(super) fn since(&self) -> Timestamp {
        let said = self.headers.text(headers::DEAD_AT).and_then(|text| text.parse().ok());
        said.or_else(|| self.deaths.as_ref()?.0.at).unwrap_or(Timestamp::MIN)
    }

    pub(super) fn letter(self, queue: Queue) -> DeadLetter {
        let Self { id, kind, headers, delivery, deaths } = self;
        let latest = deaths.map(|(latest, _)| latest).unwrap_or_default();
        DeadLetter {
            queue,
            id,
            kind,
            source: headers.text(headers::SOURCE).unwrap_or_default().to_owned(),
            time: decode::time_of(&delivery.properties, &headers),
            reason: headers.text(headers::DEAD_REASON).map(ToOwned::to_owned).or_else(|| latest.reason()),
            attempts: headers.count(headers::ATTEMPTS).saturating_add(latest.attempts()),
            data: delivery.data,
        }
    }
}

fn derived(kind: &str, data: &[u8]) -> String {
    Uuid::new_v5(&Uuid::new_v5(&NAMESPACE, kind.as_bytes()), data).to_string()
}

#[cfg(test)]
mod tests {
    use lapin::{
        BasicProperties,
        types::{AMQPValue, FieldTable},
    };

    use super::*;

    fn found(body: &[u8], headers: FieldTable) -> Found {
        let mut delivery =
            Delivery::mock(1, "events.dead".into(), "listener.log".into(), false, body.to_vec());
        delivery.properties = BasicProperties::default().with_headers(headers);
        Found::new(delivery)
    }

    fn death(reason: &str, key: &str) -> AMQPValue {
        let mut table = FieldTable::default();
        table.insert("reason".into(), AMQPValue::LongString(reason.into()));
        let keys = vec![AMQPValue::LongString(key.into())];
        table.insert("routing-keys".into(), AMQPValue::FieldArray(keys.into()));
        table.insert("time".into(), AMQPValue::Timestamp(86_400));
        AMQPValue::FieldTable(table)
    }

    #[test]
    fn a_message_without_an_id_gets_one_from_its_type_and_body() {
        let id = |body: &[u8]| found(body, FieldTable::default()).id;
        assert_eq!(id(b"{}"), id(b"{}"));
        assert_ne!(id(b"{}"), id(b"{ }"));
        assert!(id(b"").parse::<Uuid>().is_ok());
    }

    #[test]
    fn a_plain_message_that_crashed_its_consumer_has_type_reason_and_attempts_from_rabbitmq() {
        let mut headers = FieldTable::default();
        let deaths = vec![death("delivery_limit", "listener.log"), death("expired", "log.INFO")];
        headers.insert("x-death".into(), AMQPValue::FieldArray(deaths.into()));
        let found = found(b"{}", headers);
        assert_eq!(found.since().to_string(), "1970-01-02T00:00:00Z");
        let letter = found.letter(Queue::Log);
        assert_eq!((letter.kind.as_str(), letter.attempts), ("log.INFO", 21));
        assert!(letter.reason.unwrap().contains("more than 20 times"));
    }

    #[test]
    fn what_somebody_else_has_put_there_has_no_reason() {
        let mut headers = FieldTable::default();
        headers.insert("x-death".into(), AMQPValue::Boolean(true));
        let letter = found(b"\xff", headers).letter(Queue::Mail);
        assert_eq!((letter.reason, letter.attempts, letter.time), (None, 0, None));
        assert_eq!((letter.kind.as_str(), letter.data.as_slice()), ("listener.log", &b"\xff"[..]));
    }
}
