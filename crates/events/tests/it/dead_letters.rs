use lapin::{
    BasicProperties,
    message::Delivery,
    options::{BasicGetOptions, BasicPublishOptions, BasicRejectOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::time::Instant;
use weft_events::{ConsumerOptions, MAX_BODY_BYTES, Outcome, Queue};

use crate::helpers::{Place, Raw, event, handler_fn, header, next, soon};

async fn publish(raw: &Raw, body: &[u8], properties: BasicProperties) {
    let options = BasicPublishOptions::default();
    raw.channel.basic_publish("events".into(), "log.INFO".into(), options, body, properties).await.unwrap();
}

async fn dead(raw: &Raw) -> (String, Delivery) {
    let dead = raw.take(&Queue::Log.dead()).await;
    (header(&dead, "weft-dead-reason").expect("a reason"), dead)
}

#[tokio::test]
async fn a_rejected_event_becomes_a_dead_letter_with_its_reason() {
    let place = Place::new().await;
    let (handler, _seen) = handler_fn(|_| Outcome::Rejected("the field `name` is empty".into()));
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    let sent = event("log.INFO");
    running.publisher.publish(&sent, soon()).await.unwrap();

    let (reason, letter) = dead(&place.channel().await).await;
    assert_eq!(reason, "the field `name` is empty");
    assert_eq!(letter.data, sent.data);
    assert_eq!(header(&letter, "cloudEvents:id"), Some(sent.id));
    assert_eq!(header(&letter, "cloudEvents:type").as_deref(), Some("log.INFO"));
    assert_eq!(header(&letter, "weft-dead-queue").as_deref(), Some("listener.log"));
    assert_eq!(header(&letter, "weft-attempts").as_deref(), Some("1"));
    for time in ["weft-dead-at", "weft-first-attempt"] {
        assert!(header(&letter, time).unwrap().parse::<jiff::Timestamp>().is_ok());
    }
    running.end().await;
}

#[tokio::test]
async fn an_invalid_message_becomes_a_dead_letter_and_blocks_no_others() {
    let place = Place::new().await;
    let (handler, mut seen) = handler_fn(|_| Outcome::Done);
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    let raw = place.channel().await;
    let plain = BasicProperties::default;
    let large = vec![b'x'; 10 * MAX_BODY_BYTES];
    let deep = "[".repeat(50_000);
    let bodies: [(&[u8], &str); 6] = [
        (b"", "not valid JSON"),
        (b"{\"name\":", "not valid JSON"),
        (b"{} {}", "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (deep.as_bytes(), "not valid JSON"),
        (&large, "10485760 bytes"),
    ];
    for (body, expected) in bodies {
        publish(&raw, body, plain()).await;
        let (reason, letter) = dead(&raw).await;
        assert!(reason.contains(expected), "{reason}");
        assert_eq!(letter.data, body);
    }
    let mut headers = FieldTable::default();
    headers.insert("cloudEvents:id".into(), AMQPValue::Boolean(true));
    publish(&raw, b"{}", plain().with_headers(headers)).await;
    assert_eq!(dead(&raw).await.0, "header cloudEvents:id: expected UTF-8 text");
    publish(&raw, b"{}", plain().with_content_encoding("gzip".into())).await;
    assert!(dead(&raw).await.0.contains("gzip"));
    // Almost fills a frame: with our headers it would not fit.
    let mut headers = FieldTable::default();
    headers.insert("filler".into(), AMQPValue::LongString("x".repeat(130_000).into()));
    publish(&raw, b"", plain().with_headers(headers)).await;
    let (_, letter) = dead(&raw).await;
    assert!(header(&letter, "weft-headers-dropped").is_some());

    let good = event("log.INFO");
    running.publisher.publish(&good, soon()).await.unwrap();
    assert_eq!(next(&mut seen).await.event.id, good.id);
    running.end().await;
}

#[tokio::test]
async fn a_message_that_crashes_its_consumer_21_times_becomes_a_dead_letter() {
    let place = Place::new().await;
    let publisher = place.publisher();
    let sent = event("log.INFO");
    publisher.publish(&sent, soon()).await.unwrap();
    let raw = place.channel().await;
    let deadline: Instant = soon();
    let mut deliveries = 0;
    while raw.waiting(&Queue::Log.dead()).await == 0 {
        assert!(Instant::now() < deadline, "no dead letter after {deliveries} deliveries");
        let got = raw.channel.basic_get(Queue::Log.name().into(), BasicGetOptions::default()).await.unwrap();
        if let Some(message) = got {
            deliveries += 1;
            message.delivery.acker.reject(BasicRejectOptions { requeue: true }).await.unwrap();
        }
    }
    assert_eq!(deliveries, 21);
    let letter = raw.take(&Queue::Log.dead()).await;
    assert_eq!(header(&letter, "cloudEvents:id"), Some(sent.id));
    assert_eq!(letter.routing_key.as_str(), "listener.log");
}
