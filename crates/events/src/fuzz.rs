//! Fuzz target: properties and body as they arrive over the wire.

use std::sync::OnceLock;

use jiff::Timestamp;
use lapin::{
    BasicProperties,
    message::Delivery,
    protocol::basic::{gen_properties, parse_properties},
    types::{AMQPValue, FieldArray, FieldTable},
};
use weft_runtime::clock::FixedClock;

use crate::{
    Event, Outcome, Queue,
    amqp::PUBLISHER_FRAME_BYTES,
    dead_letters::fuzzed as dead_letter,
    decode::{Decoded, decode},
    headers::{self, Headers},
    republish::{carried, republished},
    retry::{self, Counts, Step},
};

#[path = "../../../fuzz/driver.rs"]
mod driver;

const CLOCK: FixedClock = FixedClock(Timestamp::UNIX_EPOCH);
/// Bytes of a header frame besides the properties: frame header (7), frame end (1), class, weight and body size.
const FRAME_OVERHEAD_BYTES: usize = 7 + 1 + 2 + 2 + 8;

#[test]
fn fuzz_the_amqp_envelope() {
    let names = [headers::ID, headers::TYPE, headers::TIME, headers::ATTEMPTS, headers::DEAD_REASON];
    let values: [&[u8]; 6] = [
        b"S\x00\x00\x00\x02ab",
        b"l\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"F\x00\x00\x00\x00",
        b"A\x00\x00\x00\x00",
        b"V",
        b"{}",
    ];
    let words: Vec<&[u8]> = names.iter().map(|name| name.as_bytes()).chain(values).collect();
    driver::run("the AMQP envelope", &examples(), &words, envelope);
}

/// Input: the length of the properties in two bytes, the properties, the body.
fn envelope(input: &[u8]) {
    let Some((length, rest)) = input.split_first_chunk() else { return };
    let (properties, body) = rest.split_at(rest.len().min(u16::from_be_bytes(*length).into()));
    // lapin refuses bytes that are not AMQP.
    let Ok((_, properties)) = parse_properties(properties) else { return };
    let delivery = || {
        let mut delivery = Delivery::mock(1, "events".into(), "log.INFO".into(), false, body.to_vec());
        delivery.properties = properties.clone();
        delivery
    };
    let decoded = decode(&mut delivery(), &CLOCK);
    assert!((1..=255).contains(&decoded.received.id.len()) && decoded.received.kind.len() <= 255);
    let is_json = serde_json::from_slice::<serde_json::Value>(body).is_ok();
    assert!(
        decoded.fault.is_some() || is_json || has_deep_or_large_numbers(body),
        "invalid JSON without a fault"
    );
    retried(&properties, decoded, body);
    let replayed = dead_letter(delivery());
    assert!(size(&replayed) <= PUBLISHER_FRAME_BYTES as usize, "a replay does not fit a frame");
    let again = decode(&mut with(replayed, body), &CLOCK).received;
    assert_eq!((again.attempts, again.failures), (0, 0));
}

/// `Value` has limits for depth and numbers that `IgnoredAny` does not have.
fn has_deep_or_large_numbers(body: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
}

/// Checks that the next attempt gets the same event.
fn retried(properties: &BasicProperties, decoded: Decoded, body: &[u8]) {
    let Decoded { received, headers, fault } = decoded;
    let reason = "x".repeat(2_000);
    let outcome = fault.map_or(Outcome::Retry(reason.clone()), |fault| Outcome::Rejected(fault.to_string()));
    let (Step::Wait { reason, counts, .. } | Step::Bury { reason, counts }) =
        retry::next(Queue::Log, outcome, &received, CLOCK.0)
    else {
        panic!("expected Wait or Bury")
    };
    let mut headers = carried(&received, headers, counts);
    headers.set_reason(headers::REASON, &reason);
    headers.set_reason(headers::DEAD_REASON, &reason);
    let sent = republished(properties, headers);
    assert!(size(&sent) <= PUBLISHER_FRAME_BYTES as usize, "a retry does not fit a frame");
    let next = decode(&mut with(sent, body), &CLOCK).received;
    assert_eq!((&next.id, &next.kind, next.time), (&received.id, &received.kind, received.time));
    let Counts { attempts, failures, unknowns } = counts;
    assert_eq!((next.attempts, next.failures, next.unknowns), (attempts, failures, unknowns));
    assert_eq!(next.first_attempt, received.first_attempt);
}

/// A delivery with these properties, encoded and decoded again.
fn with(properties: BasicProperties, body: &[u8]) -> Delivery {
    let wire = wire(&properties);
    let (rest, read) = parse_properties(wire.as_slice()).unwrap();
    assert!(rest.is_empty() && wire == self::wire(&read), "decoding changed the properties");
    let mut delivery = Delivery::mock(1, "".into(), Queue::Log.name().into(), false, body.to_vec());
    delivery.properties = read;
    delivery
}

fn size(properties: &BasicProperties) -> usize {
    wire(properties).len() + FRAME_OVERHEAD_BYTES
}

fn wire(properties: &BasicProperties) -> Vec<u8> {
    gen_properties(properties)(Vec::new().into()).unwrap().write
}

fn example(properties: &BasicProperties, body: &[u8]) -> Vec<u8> {
    let properties = wire(properties);
    let mut input = u16::try_from(properties.len()).unwrap().to_be_bytes().to_vec();
    input.extend(properties);
    input.extend(body);
    input
}

fn examples() -> Vec<Vec<u8>> {
    static EXAMPLES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let make = || {
        let data = serde_json::json!({ "name": "n", "data": "d", "fields": [1, null, { "a": 1.5e300 }] });
        let event = Event::json("1".into(), "log.INFO".into(), "broker".into(), CLOCK.0, &data).unwrap();
        let mut traced = Headers::default();
        traced.set_text("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        traced.set_count(headers::ATTEMPTS, 3);
        traced.set_text(headers::FIRST_ATTEMPT, "2026-01-02T03:04:05.678Z");
        let tables = |headers: FieldTable| BasicProperties::default().with_headers(headers);
        vec![
            example(&event.properties(traced).unwrap(), &event.data),
            // What the Go original publishes.
            example(
                &BasicProperties::default().with_content_type("text/plain".into()),
                br#"{"name":"n","data":"d"}"#,
            ),
            example(&tables(dead_by_rabbitmq()), b"{}"),
            example(
                &BasicProperties::default().with_message_id("7".into()).with_timestamp(u64::MAX),
                b"null",
            ),
            // Thousands of headers with empty values; then an id that fills the frame.
            example(
                &tables(
                    (0..6_000)
                        .map(|n| (format!("{n:x}").into(), AMQPValue::LongString("".into())))
                        .collect::<std::collections::BTreeMap<_, _>>()
                        .into(),
                ),
                b"{}",
            ),
            example(&tables(one(headers::ID, AMQPValue::LongString("x".repeat(40_000).into()))), b"{}"),
        ]
    };
    EXAMPLES.get_or_init(make).clone()
}

fn one(name: &str, value: AMQPValue) -> FieldTable {
    let mut table = FieldTable::default();
    table.insert(name.into(), value);
    table
}

fn dead_by_rabbitmq() -> FieldTable {
    let mut death = one("reason", AMQPValue::LongString("delivery_limit".into()));
    death.insert("time".into(), AMQPValue::Timestamp(1_700_000_000));
    death.insert("count".into(), AMQPValue::LongLongInt(1));
    let keys: FieldArray = vec![AMQPValue::LongString("log.INFO".into())].into();
    death.insert("routing-keys".into(), AMQPValue::FieldArray(keys));
    one("x-death", AMQPValue::FieldArray(vec![AMQPValue::FieldTable(death)].into()))
}
