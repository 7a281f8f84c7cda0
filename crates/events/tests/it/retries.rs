use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lapin::{
    BasicProperties,
    options::{BasicPublishOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};
use weft_events::{ConsumerOptions, Outcome, Queue};
use weft_runtime::clock::{Clock, SystemClock};

use crate::helpers::{Place, Raw, event, handler_fn, header, next, soon};

#[tokio::test]
async fn retries_a_failed_event_after_1_and_5_seconds() {
    let place = Place::new().await;
    let (handler, mut seen) =
        handler_fn(|event| if event.attempts < 2 { Outcome::Retry("not yet".into()) } else { Outcome::Done });
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    let sent = event("log.INFO");
    running.publisher.publish(&sent, soon()).await.unwrap();

    let attempts = [next(&mut seen).await, next(&mut seen).await, next(&mut seen).await];
    for (number, seen) in (0..).zip(&attempts) {
        let event = &seen.event;
        assert_eq!((event.attempts, event.failures), (number, number));
        assert_eq!((&event.id, &event.kind, &event.data), (&sent.id, &sent.kind, &sent.data));
        assert_eq!((event.first_attempt, event.time), (attempts[0].event.first_attempt, sent.time));
    }
    let waited = [attempts[1].at - attempts[0].at, attempts[2].at - attempts[1].at];
    assert!(waited[0] >= Duration::from_millis(950), "{waited:?}");
    assert!(waited[1] >= Duration::from_millis(4_950), "{waited:?}");
    running.end().await;
    assert_eq!(place.channel().await.waiting(Queue::Log.name()).await, 0);
}

/// Publishes a message that already has failed attempts.
async fn publish_with_history(raw: &Raw, attempts: i64, failures: i64, first: Timestamp) {
    let mut headers = FieldTable::default();
    headers.insert("weft-attempts".into(), AMQPValue::LongLongInt(attempts));
    headers.insert("weft-failures".into(), AMQPValue::LongLongInt(failures));
    headers.insert("weft-first-attempt".into(), AMQPValue::LongString(first.to_string().into()));
    headers.insert("tenant".into(), AMQPValue::LongString("a".into()));
    // If kept, `CC` would send a copy of every retry to this queue: the default exchange routes by queue name.
    let copies = vec![AMQPValue::LongString(Queue::Mail.name().into())];
    headers.insert("CC".into(), AMQPValue::FieldArray(copies.into()));
    let properties = BasicProperties::default().with_headers(headers).with_expiration("60000".into());
    let options = BasicPublishOptions::default();
    raw.channel.basic_publish("events".into(), "log.INFO".into(), options, b"{}", properties).await.unwrap();
}

#[tokio::test]
async fn failures_wait_15_and_60_seconds_and_the_fifth_is_a_dead_letter() {
    let place = Place::new().await;
    let (handler, mut seen) = handler_fn(|_| Outcome::Retry("never".into()));
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    let raw = place.channel().await;
    let first = SystemClock.now();
    for (failures, seconds) in [(2, 15), (3, 60)] {
        publish_with_history(&raw, failures, failures, first).await;
        next(&mut seen).await;
        let waiting = raw.take(&Queue::Log.retry(Duration::from_secs(seconds))).await;
        assert_eq!(header(&waiting, "weft-failures"), Some((failures + 1).to_string()));
        assert_eq!(header(&waiting, "weft-reason").as_deref(), Some("never"));
        assert_eq!(header(&waiting, "tenant").as_deref(), Some("a"));
        assert!(!waiting.properties.headers().as_ref().unwrap().contains_key("CC"));
        assert_eq!(*waiting.properties.expiration(), None);
    }
    publish_with_history(&raw, 4, 4, first).await;
    let dead = raw.take(&Queue::Log.dead()).await;
    assert_eq!(header(&dead, "weft-dead-reason").as_deref(), Some("failed 5 times; last error: never"));
    assert_eq!(raw.waiting(Queue::Mail.name()).await, 0, "a retry was copied");
    running.end().await;
}

#[tokio::test]
async fn an_unavailable_outcome_is_retried_for_three_days() {
    let place = Place::new().await;
    let (handler, mut seen) = handler_fn(|_| Outcome::Unavailable("away".into()));
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    let raw = place.channel().await;
    let ago = |hours| SystemClock.now() - SignedDuration::from_hours(hours);

    publish_with_history(&raw, 4_000, 0, ago(71)).await;
    next(&mut seen).await;
    let waiting = raw.take(&Queue::Log.retry(Duration::from_secs(60))).await;
    assert_eq!(header(&waiting, "weft-attempts").as_deref(), Some("4001"));
    assert_eq!(raw.waiting(Queue::Mail.name()).await, 0, "a retry was copied");

    publish_with_history(&raw, 4_000, 0, ago(73)).await;
    let dead = raw.take(&Queue::Log.dead()).await;
    assert_eq!(header(&dead, "weft-dead-reason").as_deref(), Some("gave up after 73 h; last error: away"));
    running.end().await;
}

#[tokio::test]
async fn a_message_stays_unacknowledged_when_its_retry_can_not_be_published() {
    let place = Place::new().await;
    let (handler, mut seen) = handler_fn(|_| Outcome::Retry("not yet".into()));
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    let raw = place.channel().await;
    let tier = Queue::Log.retry(Duration::from_secs(1));
    raw.channel.queue_delete(tier.into(), QueueDeleteOptions::default()).await.unwrap();
    let sent = event("log.INFO");
    running.publisher.publish(&sent, soon()).await.unwrap();
    next(&mut seen).await;
    running.crash().await;
    raw.until_waiting(Queue::Log.name(), 1).await;

    // The next consumer declares the missing queue again.
    let (handler, mut seen) =
        handler_fn(|event| if event.attempts == 0 { Outcome::Retry("once".into()) } else { Outcome::Done });
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    assert_eq!(next(&mut seen).await.event.id, sent.id);
    assert_eq!(next(&mut seen).await.event.id, sent.id);
    running.end().await;
    assert_eq!(raw.waiting(Queue::Log.name()).await, 0);
}

#[tokio::test]
async fn an_unknown_outcome_waits_10_minutes_1_hour_and_6_hours() {
    let place = Place::new().await;
    let (handler, mut seen) = handler_fn(|_| Outcome::Unknown("no reply".into()));
    let running = place.consume_from(Queue::Mail, ConsumerOptions::default(), handler).consuming().await;
    let raw = place.channel().await;
    let publish = async |unknowns: i64| {
        let mut headers = FieldTable::default();
        headers.insert("weft-unknowns".into(), AMQPValue::LongLongInt(unknowns));
        let properties = BasicProperties::default().with_headers(headers).with_message_id("m-1".into());
        let options = BasicPublishOptions::default();
        raw.channel
            .basic_publish("events".into(), "mail.send".into(), options, b"{}", properties)
            .await
            .unwrap();
    };
    for (unknowns, seconds) in [(0, 600), (1, 3_600), (2, 21_600)] {
        publish(unknowns).await;
        next(&mut seen).await;
        let waiting = raw.take(&Queue::Mail.retry(Duration::from_secs(seconds))).await;
        assert_eq!(header(&waiting, "weft-unknowns"), Some((unknowns + 1).to_string()));
        assert_eq!(header(&waiting, "weft-reason").as_deref(), Some("no reply"));
        assert_eq!(header(&waiting, "cloudEvents:id").as_deref(), Some("m-1"));
    }
    publish(3).await;
    let dead = raw.take(&Queue::Mail.dead()).await;
    assert_eq!(header(&dead, "weft-dead-reason").as_deref(), Some("outcome unknown: no reply"));
    running.end().await;
}
