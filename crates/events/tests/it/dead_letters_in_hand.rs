//! What a person does with dead letters.

use std::time::Duration;

use lapin::{
    BasicProperties,
    options::{BasicGetOptions, BasicPublishOptions, BasicRejectOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::time::{Instant, sleep};
use weft_events::{ConsumerOptions, DeadLetterError, MAX_BODY_BYTES, Outcome, Queue};

use crate::helpers::{Place, Raw, doing, event, next, soon};

const LOG: Queue = Queue::Log;

/// A dead letter as a consumer would have left it.
pub(crate) async fn bury(raw: &Raw, id: &str, at_second: i64, body: &[u8]) {
    let at = jiff::Timestamp::from_second(at_second).unwrap().to_string();
    let mut headers = FieldTable::default();
    for (name, value) in [
        ("cloudEvents:id", id),
        ("cloudEvents:type", "log.INFO"),
        ("cloudEvents:source", "test"),
        ("weft-dead-reason", "no"),
        ("weft-dead-at", &at),
    ] {
        headers.insert(name.into(), AMQPValue::LongString(value.into()));
    }
    headers.insert("weft-attempts".into(), AMQPValue::LongLongInt(5));
    put(raw, body, BasicProperties::default().with_headers(headers)).await;
}

async fn put(raw: &Raw, body: &[u8], properties: BasicProperties) {
    let options = BasicPublishOptions::default();
    raw.channel
        .basic_publish(
            "events.dead".into(),
            LOG.name().into(),
            options,
            body,
            properties.with_delivery_mode(2),
        )
        .await
        .unwrap();
}

/// The queues, made by a connection of this crate.
pub(crate) async fn declared(place: &Place) -> Raw {
    let publisher = place.publisher();
    publisher.publish(&event("mail.declares"), soon()).await.unwrap();
    place.channel().await
}

async fn ids(place: &Place, limit: usize) -> Vec<String> {
    let listed = place.dead_letters().list(LOG, limit).await.unwrap();
    listed.into_iter().map(|letter| letter.id).collect()
}

#[tokio::test]
async fn a_dead_letter_says_what_it_is_and_why_it_is_there() {
    let place = Place::new().await;
    let (handler, _seen) = doing(|_| Outcome::Rejected("the field `name` is empty".into()));
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    let sent = event("log.INFO");
    running.publisher.publish(&sent, soon()).await.unwrap();
    place.channel().await.until_waiting(&LOG.dead(), 1).await;

    let letters = place.dead_letters();
    let listed = letters.list(LOG, 10).await.unwrap();
    let [letter] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!(
        (letter.queue, &letter.id, &letter.kind, &letter.source),
        (LOG, &sent.id, &sent.kind, &sent.source)
    );
    assert_eq!((letter.time, &letter.data, letter.attempts), (Some(sent.time), &sent.data, 1));
    assert_eq!(letter.reason.as_deref(), Some("the field `name` is empty"));
    assert_eq!(letters.get(LOG, &sent.id).await.unwrap().as_ref(), Some(letter));
    assert_eq!(letters.list(Queue::Mail, 10).await.unwrap(), []);
    running.end().await;
}

#[tokio::test]
async fn a_replayed_event_is_handled_as_if_it_had_never_failed_and_is_gone_from_the_dead_letters() {
    let place = Place::new().await;
    let mended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_mended = mended.clone();
    let (handler, mut seen) = doing(move |_| match is_mended.load(std::sync::atomic::Ordering::SeqCst) {
        true => Outcome::Done,
        false => Outcome::Rejected("no".into()),
    });
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    let sent = event("log.INFO");
    running.publisher.publish(&sent, soon()).await.unwrap();
    next(&mut seen).await;
    let raw = place.channel().await;
    raw.until_waiting(&LOG.dead(), 1).await;

    mended.store(true, std::sync::atomic::Ordering::SeqCst);
    let letters = place.dead_letters();
    assert!(letters.replay(LOG, &sent.id).await.unwrap());
    let again = next(&mut seen).await.event;
    assert_eq!(
        (again.id, again.kind, again.time, again.data),
        (sent.id.clone(), sent.kind, sent.time, sent.data)
    );
    assert_eq!((again.attempts, again.failures), (0, 0));
    assert!(!letters.replay(LOG, &sent.id).await.unwrap(), "it is there no more");
    assert_eq!(raw.waiting(&LOG.dead()).await, 0);
    running.end().await;
}

#[tokio::test]
async fn a_discarded_one_is_gone_and_what_is_not_there_is_not_found() {
    let place = Place::new().await;
    let raw = declared(&place).await;
    for n in 0..3 {
        bury(&raw, &format!("id-{n}"), n, b"{}").await;
    }
    let letters = place.dead_letters();
    assert!(letters.discard(LOG, "id-1").await.unwrap());
    assert!(!letters.discard(LOG, "id-1").await.unwrap());
    assert!(!letters.replay(LOG, "id-1").await.unwrap());
    assert_eq!(letters.get(LOG, "id-1").await.unwrap(), None);
    assert_eq!(letters.get(LOG, "").await.unwrap(), None);
    assert_eq!(ids(&place, 10).await, ["id-0", "id-2"]);
    assert_eq!(raw.waiting(LOG.name()).await, 0);
    assert_eq!(letters.list(LOG, 0).await.unwrap(), []);
}

#[tokio::test]
async fn looking_keeps_the_order() {
    let place = Place::new().await;
    let raw = declared(&place).await;
    let all: Vec<_> = (0..200).map(|n| format!("id-{n:03}")).collect();
    for (second, id) in (0..).zip(&all) {
        bury(&raw, id, second, b"{}").await;
    }
    raw.until_waiting(&LOG.dead(), 200).await;
    assert_eq!(ids(&place, 1_000).await, all);
    assert_eq!(ids(&place, 2).await, all[..2]);
    let letters = place.dead_letters();
    letters.get(LOG, "id-100").await.unwrap().unwrap();
    letters.discard(LOG, "id-050").await.unwrap();
    assert_eq!(raw.waiting(&LOG.dead()).await, 199, "given back when it returns");
    let left: Vec<_> = all.into_iter().filter(|id| id != "id-050").collect();
    assert_eq!(ids(&place, 1_000).await, left);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_at_once_in_one_process_and_in_several_all_find_what_is_there() {
    let place = Place::new().await;
    let raw = declared(&place).await;
    for n in 0..20 {
        bury(&raw, &format!("id-{n}"), n, b"{}").await;
    }
    // Each has its own connections and locks, as another process has.
    let processes = [place.dead_letters(), place.dead_letters()];
    let calls = (0..8).map(|n| {
        let letters = processes[n % 2].clone();
        tokio::spawn(async move {
            let id = format!("id-{n}");
            assert!(letters.get(LOG, &id).await.unwrap().is_some());
            assert!(
                if n < 4 { letters.discard(LOG, &id).await } else { letters.replay(LOG, &id).await }.unwrap()
            );
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    assert_eq!(raw.waiting(&LOG.dead()).await, 12);
    assert_eq!(raw.waiting(LOG.name()).await, 4);
}

#[tokio::test]
async fn a_lock_in_other_hands_is_waited_for() {
    let place = Place::new().await;
    let raw = declared(&place).await;
    bury(&raw, "1", 0, b"{}").await;
    let options = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    let other = place.channel().await;
    other
        .channel
        .queue_declare("listener.log.dead.lock".into(), options, FieldTable::default())
        .await
        .unwrap();
    let letters = place.dead_letters();
    let waiting = tokio::spawn(async move { letters.list(LOG, 10).await });
    sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished());
    drop(other);
    assert_eq!(waiting.await.unwrap().unwrap().len(), 1);
}

#[tokio::test]
async fn foreign_messages_of_any_size_and_kind_can_be_seen_replayed_and_discarded() {
    let place = Place::new().await;
    let raw = declared(&place).await;
    let large = vec![b'x'; 10 * MAX_BODY_BYTES];
    let mut odd = FieldTable::default();
    odd.insert("cloudEvents:id".into(), AMQPValue::LongString("x".repeat(100_000).into()));
    odd.insert("x-death".into(), AMQPValue::Boolean(true));
    let bodies: [(&[u8], FieldTable); 4] = [
        (b"\xff\x00", FieldTable::default()),
        (b"", odd),
        (&large, FieldTable::default()),
        (b"{}", FieldTable::default()),
    ];
    for (body, headers) in &bodies {
        put(&raw, body, BasicProperties::default().with_headers(headers.clone())).await;
    }
    raw.until_waiting(&LOG.dead(), 4).await;
    let letters = place.dead_letters();
    let listed = letters.list(LOG, 10).await.unwrap();
    assert_eq!(listed.len(), 4);
    for (letter, (body, _)) in listed.iter().zip(&bodies) {
        assert_eq!((&letter.data[..], &letter.reason, letter.attempts), (*body, &None, 0));
        assert_eq!(letter.id.len(), 36, "{}", letter.id);
        assert_eq!(letters.get(LOG, &letter.id).await.unwrap().as_ref(), Some(letter));
    }
    for letter in &listed {
        assert!(letters.replay(LOG, &letter.id).await.unwrap());
        let replayed = raw.take(LOG.name()).await;
        assert_eq!(replayed.data, letter.data);
        assert_eq!(crate::helpers::header(&replayed, "cloudEvents:id"), None);
    }
    put(&raw, &large, BasicProperties::default()).await;
    assert!(letters.discard(LOG, &listed[2].id).await.unwrap());
    assert_eq!(letters.list(LOG, 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_message_that_crashed_its_consumer_has_its_type_reason_and_attempts_and_can_be_replayed() {
    let place = Place::new().await;
    let raw = declared(&place).await;
    // As the Go original publishes: no id, no headers.
    let options = BasicPublishOptions::default();
    let body = br#"{"name":"n","data":"d"}"#;
    let plain = BasicProperties::default();
    raw.channel.basic_publish("logs_topic".into(), "log.INFO".into(), options, body, plain).await.unwrap();
    let deadline = soon();
    while raw.waiting(&LOG.dead()).await == 0 {
        assert!(Instant::now() < deadline, "it never became a dead letter");
        let got = raw.channel.basic_get(LOG.name().into(), BasicGetOptions::default()).await.unwrap();
        if let Some(message) = got {
            message.delivery.acker.reject(BasicRejectOptions { requeue: true }).await.unwrap();
        }
    }
    let letters = place.dead_letters();
    let listed = letters.list(LOG, 10).await.unwrap();
    let [letter] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((letter.kind.as_str(), letter.attempts, &letter.data[..]), ("log.INFO", 21, &body[..]));
    assert!(letter.reason.as_ref().unwrap().contains("crashed"), "{letter:?}");

    let (handler, mut seen) = doing(|_| Outcome::Done);
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    assert!(letters.replay(LOG, &letter.id).await.unwrap());
    let handled = next(&mut seen).await.event;
    assert_eq!((handled.kind.as_str(), handled.attempts, &handled.data[..]), ("log.INFO", 0, &body[..]));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_there_are_more_than_are_looked_at_what_is_not_among_the_first_is_not_said_to_be_missing() {
    let place = Place::new().await;
    let raw = declared(&place).await;
    for n in 0..10_010 {
        bury(&raw, &format!("id-{n}"), n, b"{}").await;
    }
    raw.until_waiting(&LOG.dead(), 10_010).await;
    let start = Instant::now();
    assert_eq!(ids(&place, 2).await, ["id-0", "id-1"]);
    println!("listing 10,000 took {:?}", start.elapsed());
    let letters = place.dead_letters();
    let error = letters.get(LOG, "id-10005").await.unwrap_err();
    assert_eq!(error, DeadLetterError::Beyond { queue: LOG, looked_at: 10_000 });
    assert_eq!(ids(&place, 2).await, ["id-0", "id-1"], "the order is kept");
    assert_eq!(raw.waiting(&LOG.dead()).await, 10_010);
}
