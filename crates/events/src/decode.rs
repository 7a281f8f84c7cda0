//! Decodes a delivery into an event. Messages without id and headers, as the Go original publishes, are accepted.

use jiff::Timestamp;
use lapin::{BasicProperties, message::Delivery, types::ShortString};
use weft_runtime::clock::Clock;

use crate::{MAX_BODY_BYTES, Received, headers, headers::Headers};

/// Maximum length of id and type, the same as for publishers. A longer one might not fit into a frame when it is published again.
pub(crate) const MAX_NAME_BYTES: usize = 255;

/// Why a message can never be handled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("the body has {0} bytes; the maximum is {MAX_BODY_BYTES}")]
    TooLarge(usize),
    #[error("unsupported content encoding `{0}`: expected plain JSON")]
    Encoded(String),
    #[error("the body is not valid JSON: {0}")]
    NotJson(String),
    #[error("header {0}: expected UTF-8 text")]
    NotText(&'static str),
    #[error("header {name}: has {bytes} bytes; the maximum is {MAX_NAME_BYTES}")]
    TooLong { name: &'static str, bytes: usize },
    #[error("header {name}: invalid time, expected RFC 3339: {reason}")]
    NotTime { name: &'static str, reason: String },
    #[error("header cloudEvents:specversion: unsupported version `{0}`, expected 1.0")]
    SpecVersion(String),
}

/// A message, decoded as far as possible: one with a fault still needs id and headers to become a dead letter.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) received: Received,
    pub(crate) headers: Headers,
    pub(crate) fault: Option<DecodeError>,
}

/// Takes the body out of the delivery.
pub(crate) fn decode(delivery: &mut Delivery, clock: &dyn Clock) -> Decoded {
    let headers = Headers::of(delivery.properties.headers().as_ref());
    let now = clock.now();
    let fault = check(delivery, &headers).err();
    let received = Received {
        id: id_of(&delivery.properties, &headers).unwrap_or_else(|| clock.new_id().to_string()),
        kind: kind_of(&headers).unwrap_or_else(|| delivery.routing_key.to_string()),
        source: headers.text(headers::SOURCE).unwrap_or_default().to_owned(),
        time: time_of(&delivery.properties, &headers).unwrap_or(now),
        data: std::mem::take(&mut delivery.data),
        attempts: headers.count(headers::ATTEMPTS),
        failures: headers.count(headers::FAILURES),
        unknowns: headers.count(headers::UNKNOWNS),
        // A time in the future, which only other publishers write, would extend the retries until then.
        first_attempt: time(&headers, headers::FIRST_ATTEMPT)
            .ok()
            .flatten()
            .map_or(now, |first| first.min(now)),
    };
    Decoded { received, headers, fault }
}

/// The message's id: from the header, otherwise from the property `message_id`.
pub(crate) fn id_of(properties: &BasicProperties, headers: &Headers) -> Option<String> {
    let property =
        || properties.message_id().as_ref().map(ShortString::to_string).filter(|id| !id.is_empty());
    name(headers, headers::ID).or_else(property)
}

/// The message's type, from the header.
pub(crate) fn kind_of(headers: &Headers) -> Option<String> {
    name(headers, headers::TYPE)
}

/// The event's time: from the header, otherwise from the property `timestamp` (in seconds).
pub(crate) fn time_of(properties: &BasicProperties, headers: &Headers) -> Option<Timestamp> {
    let property = || Timestamp::from_second(i64::try_from((*properties.timestamp())?).ok()?).ok();
    time(headers, headers::TIME).ok().flatten().or_else(property)
}

fn name(headers: &Headers, name: &str) -> Option<String> {
    let text = headers.text(name)?;
    (1..=MAX_NAME_BYTES).contains(&text.len()).then(|| text.to_owned())
}

fn check(delivery: &Delivery, headers: &Headers) -> Result<(), DecodeError> {
    for name in [headers::ID, headers::TYPE, headers::SOURCE, headers::SPEC_VERSION] {
        if headers.has(name) && headers.text(name).is_none() {
            return Err(DecodeError::NotText(name));
        }
    }
    for name in [headers::ID, headers::TYPE] {
        if let Some(bytes) = headers.text(name).map(str::len).filter(|bytes| *bytes > MAX_NAME_BYTES) {
            return Err(DecodeError::TooLong { name, bytes });
        }
    }
    match headers.text(headers::SPEC_VERSION) {
        None | Some("1.0") => {}
        Some(other) => return Err(DecodeError::SpecVersion(other.to_owned())),
    }
    time(headers, headers::TIME)?;
    match delivery.properties.content_encoding().as_ref().map(ShortString::as_str) {
        None | Some("" | "utf-8" | "UTF-8" | "identity") => {}
        Some(other) => return Err(DecodeError::Encoded(other.to_owned())),
    }
    if delivery.data.len() > MAX_BODY_BYTES {
        return Err(DecodeError::TooLarge(delivery.data.len()));
    }
    match serde_json::from_slice::<serde::de::IgnoredAny>(&delivery.data) {
        Ok(_) => Ok(()),
        Err(error) => Err(DecodeError::NotJson(error.to_string())),
    }
}

fn time(headers: &Headers, name: &'static str) -> Result<Option<Timestamp>, DecodeError> {
    if !headers.has(name) {
        return Ok(None);
    }
    let text = headers.text(name).ok_or(DecodeError::NotText(name))?;
    text.parse()
        .map(Some)
        .map_err(|error: jiff::Error| DecodeError::NotTime { name, reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use lapin::types::{AMQPValue, FieldTable};
    use weft_runtime::clock::FixedClock;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn delivery(body: &[u8], headers: &[(&str, &str)]) -> Delivery {
        let mut table = Headers::default();
        for (name, value) in headers {
            table.set_text(name, value);
        }
        let mut delivery = Delivery::mock(1, "logs_topic".into(), "log.INFO".into(), false, body.to_vec());
        delivery.properties = BasicProperties::default().with_headers(table.into_table());
        delivery
    }

    fn fault(mut delivery: Delivery) -> String {
        decode(&mut delivery, &FixedClock(NOW)).fault.map(|fault| fault.to_string()).unwrap_or_default()
    }

    #[test]
    fn gives_a_plain_message_an_id_a_type_and_a_time() {
        let decoded = decode(&mut delivery(b"{}", &[]), &FixedClock(NOW));
        assert_eq!(decoded.fault, None);
        assert_eq!(decoded.received.kind, "log.INFO");
        assert_eq!(decoded.received.time, NOW);
        assert_eq!(decoded.received.id.len(), 36);
        assert_eq!(decoded.received.attempts, 0);
    }

    #[test]
    fn prefers_headers_over_properties_and_routing_key() {
        let headers = [
            (headers::ID, "7"),
            (headers::TYPE, "log.ERROR"),
            (headers::SOURCE, "broker"),
            (headers::TIME, "2026-01-02T03:04:05Z"),
        ];
        let received = decode(&mut delivery(b"{}", &headers), &FixedClock(NOW)).received;
        assert_eq!(
            (received.id.as_str(), received.kind.as_str(), received.source.as_str()),
            ("7", "log.ERROR", "broker")
        );
        assert_eq!(received.time.to_string(), "2026-01-02T03:04:05Z");
    }

    #[test]
    fn reads_the_timestamp_property_when_the_header_is_missing() {
        let mut delivery = delivery(b"{}", &[]);
        delivery.properties = BasicProperties::default().with_timestamp(86_400);
        let received = decode(&mut delivery, &FixedClock(NOW)).received;
        assert_eq!(received.time.to_string(), "1970-01-02T00:00:00Z");
    }

    #[test]
    fn replaces_a_first_attempt_in_the_future_by_now() {
        let first = |text| decode(&mut delivery(b"{}", &[(headers::FIRST_ATTEMPT, text)]), &FixedClock(NOW));
        assert_eq!(first("2999-01-01T00:00:00Z").received.first_attempt, NOW);
        assert_eq!(first("1969-12-31T00:00:00Z").received.first_attempt.to_string(), "1969-12-31T00:00:00Z");
        assert_eq!(first("soon").received.first_attempt, NOW);
    }

    #[test]
    fn reports_why_a_message_is_invalid() {
        assert!(fault(delivery(b"", &[])).contains("not valid JSON"));
        assert!(fault(delivery(b"{", &[])).contains("not valid JSON"));
        assert!(fault(delivery(b"\xff\xfe", &[])).contains("not valid JSON"));
        assert!(fault(delivery(b"{}{}", &[])).contains("not valid JSON"));
        assert!(fault(delivery(&vec![b' '; MAX_BODY_BYTES + 1], &[])).contains("1048577 bytes"));
        assert!(fault(delivery(b"{}", &[(headers::TIME, "yesterday")])).contains("cloudEvents:time"));
        assert!(fault(delivery(b"{}", &[(headers::SPEC_VERSION, "0.3")])).contains("expected 1.0"));
        let long = "x".repeat(256);
        assert!(fault(delivery(b"{}", &[(headers::ID, long.as_str())])).contains("has 256 bytes"));
        let mut encoded = delivery(b"{}", &[]);
        encoded.properties = BasicProperties::default().with_content_encoding("gzip".into());
        assert!(fault(encoded).contains("gzip"));
        let mut typed = delivery(b"{}", &[]);
        let mut table = FieldTable::default();
        table.insert(headers::TYPE.into(), AMQPValue::LongLongInt(5));
        typed.properties = BasicProperties::default().with_headers(table);
        assert!(fault(typed).contains("cloudEvents:type: expected UTF-8 text"));
    }
}
