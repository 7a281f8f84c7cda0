//! Queues, exchanges and bindings that are deleted at run time.

use std::time::Duration;

use lapin::{
    BasicProperties, Channel,
    options::{BasicPublishOptions, ExchangeDeleteOptions, ExchangeUnbindOptions, QueueDeleteOptions},
    types::FieldTable,
};
use tokio::time::{Instant, sleep};
use weft_events::{ConsumerOptions, Outcome, PublishError, Queue};

use crate::helpers::{Place, event, handler_fn, next, soon};

const LOG: Queue = Queue::Log;
/// Deadline for a publication, as in a request.
const WITHIN: Duration = Duration::from_secs(5);

async fn delete_queue(channel: &Channel, name: String) {
    channel.queue_delete(name.into(), QueueDeleteOptions::default()).await.unwrap();
}

async fn delete_exchange(channel: &Channel, name: &str) {
    channel.exchange_delete(name.into(), ExchangeDeleteOptions::default()).await.unwrap();
}

async fn unbind(channel: &Channel, queue: String, exchange: &str, key: &str) {
    channel.queue_unbind(queue.into(), exchange.into(), key.into(), FieldTable::default()).await.unwrap();
}

#[tokio::test]
async fn a_publisher_declares_deleted_objects_again_within_its_deadline() {
    let place = Place::new().await;
    let publisher = place.publisher();
    publisher.publish(&event("log.INFO"), soon()).await.unwrap();
    let channel = place.channel().await.channel;
    for what in ["the queue", "its binding", "the exchange"] {
        match what {
            "the queue" => delete_queue(&channel, LOG.name().into()).await,
            "its binding" => unbind(&channel, LOG.name().into(), "events", "log.*").await,
            _ => delete_exchange(&channel, "events").await,
        }
        let sent = event("log.INFO");
        let published = publisher.publish(&sent, Instant::now() + WITHIN).await;
        assert_eq!(published, Ok(()), "after {what} was deleted");
    }
    let unwanted = publisher.publish(&event("nobody.wants"), Instant::now() + WITHIN).await;
    assert!(matches!(unwanted, Err(PublishError::Unroutable { .. })), "{unwanted:?}");
}

#[tokio::test]
async fn a_consumer_consumes_again_after_its_queue_was_deleted() {
    let place = Place::new().await;
    let (handler, mut seen) = handler_fn(|_| Outcome::Done);
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    for _ in 0..2 {
        delete_queue(&place.channel().await.channel, LOG.name().into()).await;
        let sent = event("log.INFO");
        running.publisher.publish(&sent, Instant::now() + WITHIN).await.unwrap();
        assert_eq!(next(&mut seen).await.event.id, sent.id);
    }
    running.consuming().await.end().await;
}

#[tokio::test]
async fn declares_deleted_retry_and_dead_letter_queues_again() {
    let place = Place::new().await;
    let (handler, mut seen) = handler_fn(|event| match event.kind.as_str() {
        "log.ERROR" => Outcome::Rejected("no".into()),
        _ if event.attempts == 0 => Outcome::Retry("once".into()),
        _ => Outcome::Done,
    });
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    let raw = place.channel().await;
    for (n, what) in (1..).zip(["the exchange", "the queue", "the binding"]) {
        match what {
            "the exchange" => delete_exchange(&raw.channel, "events.dead").await,
            "the queue" => delete_queue(&raw.channel, LOG.dead()).await,
            _ => unbind(&raw.channel, LOG.dead(), "events.dead", LOG.name()).await,
        }
        running.publisher.publish(&event("log.ERROR"), soon()).await.unwrap();
        next(&mut seen).await;
        // Deleting the queue deleted the previous letter too.
        raw.until_waiting_or_missing(&LOG.dead(), if n == 1 { 1 } else { n - 1 }).await;
    }
    delete_queue(&raw.channel, LOG.retry(Duration::from_secs(1))).await;
    let retried = event("log.INFO");
    running.publisher.publish(&retried, soon()).await.unwrap();
    for attempts in 0..2 {
        let seen = next(&mut seen).await.event;
        assert_eq!((seen.id, seen.attempts), (retried.id.clone(), attempts));
    }
    running.end().await;
}

#[tokio::test]
async fn declares_the_exchange_of_the_go_original_again() {
    let place = Place::new().await;
    let (handler, mut seen) = handler_fn(|_| Outcome::Done);
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    for what in ["the exchange", "the binding"] {
        let channel = place.channel().await.channel;
        if what == "the exchange" {
            delete_exchange(&channel, "logs_topic").await;
        } else {
            let (to, from, options) =
                ("events".into(), "logs_topic".into(), ExchangeUnbindOptions::default());
            channel.exchange_unbind(to, from, "#".into(), options, FieldTable::default()).await.unwrap();
        }
        let deadline = soon();
        while seen.try_recv().is_err() {
            assert!(Instant::now() < deadline, "{what} was not declared again");
            // Publishing to a missing exchange closes the channel.
            let raw = place.channel().await;
            let options = BasicPublishOptions::default();
            let plain = BasicProperties::default();
            let _ = raw
                .channel
                .basic_publish("logs_topic".into(), "log.INFO".into(), options, b"{}", plain)
                .await;
            sleep(Duration::from_millis(500)).await;
        }
        while seen.try_recv().is_ok() {}
    }
    running.end().await;
}
