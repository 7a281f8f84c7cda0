//! Moving dead letters from RabbitMQ to a store, and replaying them.

use std::sync::atomic::Ordering;

use lapin::{
    BasicProperties,
    options::{BasicGetOptions, BasicPublishOptions, BasicRejectOptions, QueueDeleteOptions},
    protocol::basic::parse_properties,
    types::{AMQPValue, FieldArray, FieldTable},
};
use tokio::time::Instant;
use weft_events::{ConsumerOptions, DeadLetter, MAX_BODY_BYTES, Outcome, Publisher, Queue};

use crate::helpers::{Answer, Kept, Place, Raw, event, handler_fn, next, soon};

const LOG: Queue = Queue::Log;

/// Publishes a message to the dead-letter exchange, as any client can.
async fn bury(raw: &Raw, body: &[u8], headers: FieldTable) {
    let properties = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
    let options = BasicPublishOptions::default();
    raw.channel
        .basic_publish("events.dead".into(), LOG.name().into(), options, body, properties)
        .await
        .unwrap();
}

async fn replay(publisher: &Publisher, letter: &DeadLetter) {
    let DeadLetter { queue, kind, properties, body, .. } = letter;
    publisher.replay(*queue, kind, properties, body, soon()).await.unwrap();
}

/// A seeded pseudo-random generator, so that a failure can be reproduced.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }

    fn bytes(&mut self, most: u64) -> Vec<u8> {
        (0..self.next(most)).map(|_| self.next(256) as u8).collect()
    }

    fn value(&mut self, depth: u32) -> AMQPValue {
        let kinds = if depth == 0 { 11 } else { 13 };
        match self.next(kinds) {
            0 => AMQPValue::Boolean(self.next(2) == 0),
            1 => AMQPValue::ShortShortInt(self.next(128) as i8),
            2 => AMQPValue::ShortInt(self.next(30_000) as i16),
            3 => AMQPValue::LongInt(self.next(2_000_000) as i32),
            4 => AMQPValue::LongLongInt(self.next(u64::MAX) as i64),
            5 => AMQPValue::Double(self.next(1_000) as f64 / 7.0),
            6 => AMQPValue::Float(self.next(1_000) as f32 / 8.0),
            7 => AMQPValue::Timestamp(self.next(1 << 40)),
            8 => AMQPValue::Void,
            9 => AMQPValue::ByteArray(self.bytes(40).into()),
            10 => AMQPValue::LongString(self.bytes(60).into()),
            11 => {
                let values: Vec<_> = (0..self.next(4)).map(|_| self.value(depth - 1)).collect();
                AMQPValue::FieldArray(FieldArray::from(values))
            }
            _ => AMQPValue::FieldTable(self.table(depth - 1)),
        }
    }

    fn table(&mut self, depth: u32) -> FieldTable {
        let mut table = FieldTable::default();
        for n in 0..self.next(6) {
            table.insert(format!("h{n}-{}", self.next(1_000)).into(), self.value(depth));
        }
        table
    }
}

#[tokio::test]
async fn moves_a_letter_with_its_details_and_replays_it_as_a_first_attempt() {
    let place = Place::new().await;
    let (handler, mut seen) = handler_fn(|event| match event.attempts {
        0 if event.kind == "log.ERROR" => Outcome::Rejected("the field `name` is empty".into()),
        _ => Outcome::Done,
    });
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    let sent = event("log.ERROR");
    running.publisher.publish(&sent, soon()).await.unwrap();
    next(&mut seen).await;
    let kept = Kept::new();
    let mover = place.move_letters(&kept);
    let letter = kept.until(1).await.remove(0);
    place.channel().await.until_waiting(&LOG.dead(), 0).await;

    assert_eq!(
        (letter.queue, letter.event_id.as_ref(), &letter.kind, &letter.source),
        (LOG, Some(&sent.id), &sent.kind, &sent.source)
    );
    assert_eq!((letter.time, &letter.body, letter.attempts), (Some(sent.time), &sent.data, 1));
    assert_eq!(letter.reason.as_deref(), Some("the field `name` is empty"));

    replay(&running.publisher, &letter).await;
    let again = next(&mut seen).await.event;
    assert_eq!((again.id, again.kind, again.time, again.data), (sent.id, sent.kind, sent.time, sent.data));
    assert_eq!((again.attempts, again.failures), (0, 0));
    // Rejected again: a second dead letter.
    let letters = kept.until(2).await;
    assert_ne!(letters[0].id, letters[1].id);
    assert_eq!(letters[0].event_id, letters[1].event_id);
    mover.abort();
    running.end().await;
}

#[tokio::test]
async fn moves_and_replays_any_body_and_headers_unchanged() {
    const COUNT: usize = 200;
    let place = Place::new().await;
    let raw = place.declared().await;
    let seed = uuid::Uuid::new_v4().as_u128() as u64 | 1;
    println!("seed {seed}");
    let mut random = Random(seed);
    let mut sent: Vec<(Vec<u8>, FieldTable)> = Vec::new();
    for n in 0..COUNT {
        let body = [n.to_string().as_bytes(), b"\xff\x00", &random.bytes(300)].concat();
        sent.push((body, random.table(3)));
    }
    sent.push((vec![b'x'; 3 * MAX_BODY_BYTES], FieldTable::default()));
    for (body, headers) in &sent {
        bury(&raw, body, headers.clone()).await;
    }
    let kept = Kept::new();
    let mover = place.move_letters(&kept);
    let letters = kept.until(sent.len()).await;
    raw.until_waiting(&LOG.dead(), 0).await;
    let publisher = place.publisher();
    for (letter, (body, headers)) in letters.iter().zip(&sent) {
        assert_eq!(&letter.body, body);
        let (_, properties) = parse_properties(letter.properties.as_slice()).unwrap();
        assert_eq!(properties.headers().as_ref(), Some(headers));
        replay(&publisher, letter).await;
        let replayed = raw.take(LOG.name()).await;
        assert_eq!(&replayed.data, body);
        let mut again = replayed.properties.headers().clone().unwrap().inner().clone();
        assert_eq!(
            again.remove("cloudEvents:type"),
            Some(AMQPValue::LongString(LOG.name().into())),
            "type of a plain message"
        );
        // Added by this crate and by RabbitMQ.
        for name in ["traceparent", "tracestate", "x-delivery-count"] {
            again.remove(name);
        }
        assert_eq!(&again, headers.inner());
    }
    mover.abort();
}

#[tokio::test]
async fn letters_stay_in_rabbitmq_while_the_store_is_unavailable() {
    let place = Place::new().await;
    let raw = place.declared().await;
    for n in 0..20 {
        bury(&raw, n.to_string().as_bytes(), FieldTable::default()).await;
    }
    let kept = Kept::answering(|_| Answer::Unavailable);
    let mover = place.move_letters(&kept);
    let deadline = soon();
    while kept.asked.load(Ordering::SeqCst) < 3 {
        assert!(Instant::now() < deadline, "the store was not called");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(raw.waiting(&LOG.dead()).await >= 10, "most letters should still be in the queue");
    let asked = kept.asked.load(Ordering::SeqCst);
    assert!(asked < 10, "the store was called {asked} times without a pause");
    kept.answer(|_| Answer::Store);
    assert_eq!(kept.until(20).await.len(), 20);
    raw.until_waiting(&LOG.dead(), 0).await;
    mover.abort();
}

#[tokio::test]
async fn a_letter_that_can_not_be_stored_does_not_block_others() {
    let place = Place::new().await;
    let raw = place.declared().await;
    for body in [&b"refused"[..], b"unavailable", b"1", b"2", b"3"] {
        bury(&raw, body, FieldTable::default()).await;
    }
    let kept = Kept::answering(|body| match body {
        b"refused" => Answer::Refuse,
        b"unavailable" => Answer::Unavailable,
        _ => Answer::Store,
    });
    let mover = place.move_letters(&kept);
    let letters = kept.until(3).await;
    let bodies: Vec<_> = letters.iter().map(|letter| letter.body.as_slice()).collect();
    assert_eq!(bodies, [b"1", b"2", b"3"]);
    mover.abort();
    let _ = mover.await;
    // The held letters are in the queue again.
    raw.until_waiting(&LOG.dead(), 2).await;
}

#[tokio::test]
async fn stores_a_letter_once_when_killed_before_the_acknowledgement() {
    let place = Place::new().await;
    let raw = place.declared().await;
    bury(&raw, b"{}", FieldTable::default()).await;
    let kept = Kept::answering(|_| Answer::StoreAndHang);
    let killed = place.move_letters(&kept);
    kept.until(1).await;
    killed.abort();
    let _ = killed.await;
    raw.until_waiting(&LOG.dead(), 1).await;
    kept.answer(|_| Answer::Store);
    let mover = place.move_letters(&kept);
    let deadline = soon();
    while kept.asked.load(Ordering::SeqCst) < 2 {
        assert!(Instant::now() < deadline, "the letter was not moved again");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    raw.until_waiting(&LOG.dead(), 0).await;
    assert_eq!(kept.letters.lock().unwrap().len(), 1);
    mover.abort();
}

#[tokio::test]
async fn continues_moving_after_the_queue_was_deleted() {
    let place = Place::new().await;
    let raw = place.declared().await;
    let kept = Kept::new();
    let mover = place.move_letters(&kept);
    bury(&raw, b"1", FieldTable::default()).await;
    kept.until(1).await;
    raw.channel.queue_delete(LOG.dead().into(), QueueDeleteOptions::default()).await.unwrap();
    let deadline = soon();
    // RabbitMQ drops the message until queue and binding are declared again.
    while kept.letters.lock().unwrap().len() < 2 {
        assert!(Instant::now() < deadline, "the queue was not declared again");
        bury(&raw, b"2", FieldTable::default()).await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    mover.abort();
}

#[tokio::test]
async fn moves_and_replays_a_message_that_crashed_its_consumer() {
    let place = Place::new().await;
    let raw = place.declared().await;
    // What the Go original publishes: no id, no headers.
    let options = BasicPublishOptions::default();
    let body = br#"{"name":"n","data":"d"}"#;
    let plain = BasicProperties::default();
    raw.channel.basic_publish("logs_topic".into(), "log.INFO".into(), options, body, plain).await.unwrap();
    let deadline = soon();
    while raw.waiting(&LOG.dead()).await == 0 {
        assert!(Instant::now() < deadline, "the message did not become a dead letter");
        let got = raw.channel.basic_get(LOG.name().into(), BasicGetOptions::default()).await.unwrap();
        if let Some(message) = got {
            message.delivery.acker.reject(BasicRejectOptions { requeue: true }).await.unwrap();
        }
    }
    let kept = Kept::new();
    let mover = place.move_letters(&kept);
    let letter = kept.until(1).await.remove(0);
    assert_eq!((letter.kind.as_str(), letter.attempts, &letter.body[..]), ("log.INFO", 21, &body[..]));
    assert!(letter.reason.as_ref().unwrap().contains("crashed"), "{letter:?}");

    let (handler, mut seen) = handler_fn(|_| Outcome::Done);
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    replay(&running.publisher, &letter).await;
    let handled = next(&mut seen).await.event;
    assert_eq!((handled.kind.as_str(), handled.attempts, &handled.data[..]), ("log.INFO", 0, &body[..]));
    mover.abort();
    running.end().await;
}
