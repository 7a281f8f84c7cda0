use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use lapin::{BasicProperties, options::BasicPublishOptions};
use tokio::sync::Semaphore;
use weft_events::{ConsumerOptions, Handler, Handlers, Outcome, Queue, Received};

use crate::helpers::{Place, event, handler_fn, next, soon};

#[tokio::test]
async fn handles_an_event_unchanged_and_acknowledges_it() {
    let place = Place::new().await;
    let (handler, mut seen) = handler_fn(|_| Outcome::Done);
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    let sent = event("log.WARNING");
    running.publisher.publish(&sent, soon()).await.unwrap();

    let got = next(&mut seen).await.event;
    assert_eq!((got.id, got.kind, got.source, got.time), (sent.id, sent.kind, sent.source, sent.time));
    assert_eq!((got.data, got.attempts), (sent.data, 0));
    running.end().await;
    assert_eq!(place.channel().await.waiting(Queue::Log.name()).await, 0);
}

#[tokio::test]
async fn handles_a_message_of_the_go_original_and_keeps_its_generated_id() {
    let place = Place::new().await;
    let (handler, mut seen) =
        handler_fn(|event| if event.attempts == 0 { Outcome::Retry("once".into()) } else { Outcome::Done });
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    // What the Go original publishes: no id, no headers, text/plain, not persistent.
    let properties = BasicProperties::default().with_content_type("text/plain".into());
    let body = br#"{"name":"event","data":"logged via RabbitMQ"}"#;
    let raw = place.channel().await;
    raw.channel
        .basic_publish(
            "logs_topic".into(),
            "log.INFO".into(),
            BasicPublishOptions::default(),
            body,
            properties,
        )
        .await
        .unwrap();

    let (first, second) = (next(&mut seen).await.event, next(&mut seen).await.event);
    assert_eq!((first.kind.as_str(), first.source.as_str(), first.attempts), ("log.INFO", "", 0));
    assert_eq!(first.data, body);
    assert_eq!(first.id.len(), 36);
    // A retry changes the routing key to the queue's name; nothing else may differ.
    assert_eq!(second, Received { attempts: 1, failures: 1, ..first });
    running.end().await;
}

#[tokio::test]
async fn dispatches_by_type_and_dead_letters_an_unknown_type() {
    let place = Place::new().await;
    let (errors, mut of_errors) = handler_fn(|_| Outcome::Done);
    let handlers = Handlers::default().on("log.ERROR", errors);
    let running = place.consume(ConsumerOptions::default(), handlers).consuming().await;
    running.publisher.publish(&event("log.INFO"), soon()).await.unwrap();
    running.publisher.publish(&event("log.ERROR"), soon()).await.unwrap();
    assert_eq!(next(&mut of_errors).await.event.kind, "log.ERROR");
    place.channel().await.until_waiting(&Queue::Log.dead(), 1).await;
    running.end().await;
}

/// Counts concurrent calls, and ends each when the test adds a permit.
struct Gate {
    running_now: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

#[async_trait]
impl Handler for Gate {
    async fn handle(&self, _: &Received) -> Outcome {
        self.running_now.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        self.running_now.fetch_sub(1, Ordering::SeqCst);
        Outcome::Done
    }
}

#[tokio::test]
async fn takes_no_more_messages_than_the_prefetch() {
    let place = Place::new().await;
    let publisher = place.publisher();
    for _ in 0..20 {
        publisher.publish(&event("log.INFO"), soon()).await.unwrap();
    }
    let (running_now, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let handler = Gate { running_now: running_now.clone(), gate: gate.clone() };
    let running = place
        .consume(ConsumerOptions { prefetch: 4, ..ConsumerOptions::default() }, handler)
        .consuming()
        .await;
    let raw = place.channel().await;
    raw.until_waiting(Queue::Log.name(), 16).await;
    while running_now.load(Ordering::SeqCst) < 4 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(1);
    raw.until_waiting(Queue::Log.name(), 15).await;
    assert!(running_now.load(Ordering::SeqCst) <= 4);
    gate.add_permits(19);
    raw.until_waiting(Queue::Log.name(), 0).await;
    running.end().await;
    assert_eq!(running_now.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_panicking_or_hanging_handler_affects_only_its_own_event() {
    let place = Place::new().await;
    let (handler, mut seen) = handler_fn(|event| match (event.kind.as_str(), event.attempts) {
        ("log.ERROR", 0) => panic!("the test panics"),
        _ => Outcome::Done,
    });
    let handlers = Handlers::default().on("log.FATAL", Hanging).on("log.*", handler);
    let options = ConsumerOptions { handle_within: Duration::from_secs(1), ..ConsumerOptions::default() };
    let running = place.consume(options, handlers).consuming().await;
    for kind in ["log.ERROR", "log.FATAL", "log.INFO"] {
        running.publisher.publish(&event(kind), soon()).await.unwrap();
    }
    let mut attempts = Vec::new();
    for _ in 0..3 {
        let event = next(&mut seen).await.event;
        attempts.push((event.kind, event.attempts));
    }
    attempts.sort();
    assert_eq!(
        attempts,
        [("log.ERROR".to_owned(), 0), ("log.ERROR".to_owned(), 1), ("log.INFO".to_owned(), 0)]
    );
    // The hanging event is at its second attempt or later, and is retried like `Unavailable`.
    let raw = place.channel().await;
    let waiting = raw.take(&Queue::Log.retry(Duration::from_secs(5))).await;
    assert_eq!(
        crate::helpers::header(&waiting, "weft-reason").as_deref(),
        Some("the handler timed out after 1 s")
    );
    assert_eq!(crate::helpers::header(&waiting, "weft-failures").as_deref(), Some("0"));
    running.end().await;
}

struct Hanging;

#[async_trait]
impl Handler for Hanging {
    async fn handle(&self, _: &Received) -> Outcome {
        std::future::pending().await
    }
}
