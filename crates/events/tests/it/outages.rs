use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};
use weft_events::{ConsumerOptions, Outcome, PublishError, Publisher, Queue};

use crate::helpers::{Place, event, handler_fn, next, soon};

const PUBLISHERS: usize = 8;
const KILLS: usize = 3;

/// Publishes events until `end` is set, and repeats each until it is confirmed. Returns the confirmed ids.
async fn flow(publisher: Publisher, end: Arc<AtomicBool>) -> Vec<String> {
    let mut confirmed = Vec::new();
    while !end.load(Ordering::SeqCst) {
        let event = event("log.INFO");
        if publisher.publish(&event, Instant::now() + Duration::from_secs(1)).await.is_ok() {
            confirmed.push(event.id);
        }
        // Keeps the number of events small.
        sleep(Duration::from_millis(5)).await;
    }
    confirmed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loses_no_confirmed_event_when_rabbitmq_is_killed() {
    let place = Place::own().await;
    let handled: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let counts = handled.clone();
    let (handler, _seen) = handler_fn(move |event| {
        *counts.lock().unwrap().entry(event.id.clone()).or_default() += 1;
        Outcome::Done
    });
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    place.rabbit.server.sync_declarations().unwrap();
    let end = Arc::new(AtomicBool::new(false));
    let flows: Vec<_> =
        (0..PUBLISHERS).map(|_| tokio::spawn(flow(running.publisher.clone(), end.clone()))).collect();

    for _ in 0..KILLS {
        let before = handled.lock().unwrap().len();
        let deadline = soon();
        while handled.lock().unwrap().len() < before + 100 {
            assert!(Instant::now() < deadline, "no events are confirmed");
            sleep(Duration::from_millis(10)).await;
        }
        place.rabbit.server.kill().await.unwrap();
        place.rabbit.server.start().await.unwrap();
    }
    let before = handled.lock().unwrap().len();
    let deadline = soon();
    while handled.lock().unwrap().len() < before + 100 {
        assert!(Instant::now() < deadline, "no events are confirmed after the last kill");
        sleep(Duration::from_millis(10)).await;
    }
    end.store(true, Ordering::SeqCst);
    let mut confirmed = HashSet::new();
    for flow in flows {
        confirmed.extend(flow.await.unwrap());
    }
    let deadline = soon();
    loop {
        let lost: Vec<_> = {
            let handled = handled.lock().unwrap();
            confirmed.iter().filter(|id| !handled.contains_key(*id)).cloned().collect()
        };
        if lost.is_empty() {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{} of {} confirmed events were lost: {lost:?}",
            lost.len(),
            confirmed.len()
        );
        sleep(Duration::from_millis(50)).await;
    }
    assert!(confirmed.len() > 300, "only {} were confirmed", confirmed.len());
    let raw = place.channel().await;
    assert_eq!(raw.waiting(&Queue::Log.dead()).await, 0);
    running.end().await;
    raw.until_waiting(Queue::Log.name(), 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn detects_a_hung_rabbitmq_and_recovers() {
    let place = Place::own().await;
    let (handler, mut seen) = handler_fn(|_| Outcome::Done);
    let mut running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    running.publisher.publish(&event("log.INFO"), soon()).await.unwrap();
    next(&mut seen).await;

    place.rabbit.server.pause().unwrap();
    let start = Instant::now();
    let error =
        running.publisher.publish(&event("log.INFO"), start + Duration::from_secs(1)).await.unwrap_err();
    assert!(
        matches!(&error, PublishError::Unconfirmed { reason } if reason.contains("no confirmation arrived")),
        "{error:?}"
    );
    // Two missed heartbeats.
    let noticed = running.status.wait_for(|status| !status.consuming);
    timeout(Duration::from_secs(120), noticed).await.expect("the hang was not detected").unwrap();

    place.rabbit.server.resume().unwrap();
    let mut running = running.consuming().await;
    let last = event("log.ERROR");
    running.publisher.publish(&last, soon()).await.unwrap();
    while next(&mut seen).await.event.id != last.id {}
    assert!(running.status.borrow_and_update().store.reachable);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_alarm_blocks_publishing_but_not_acknowledgements() {
    let place = Place::own().await;
    let (handler, mut seen) = handler_fn(|event| {
        // The event is still in hand when the alarm is raised.
        std::thread::sleep(Duration::from_millis(if event.kind == "log.WARNING" { 500 } else { 0 }));
        Outcome::Done
    });
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    running.publisher.publish(&event("log.INFO"), soon()).await.unwrap();
    next(&mut seen).await;

    let watermark =
        |value: &str| place.rabbit.server.ctl(&["set_vm_memory_high_watermark", "absolute", value]).unwrap();
    watermark("1MB");
    // RabbitMQ blocks a connection when it publishes; the first publication still succeeds.
    let within = || Instant::now() + Duration::from_secs(2);
    let mut last = running.publisher.publish(&event("log.INFO"), within()).await;
    if last.is_ok() {
        last = running.publisher.publish(&event("log.INFO"), within()).await;
    }
    let error = running.publisher.publish(&event("log.INFO"), within()).await.unwrap_err();
    assert!(
        matches!(&error, PublishError::Blocked { reason } if reason.contains("memory")),
        "{error:?} after {last:?}"
    );
    assert!(running.publisher.status().message.unwrap().contains("blocks publishing"));
    assert!(running.status.borrow().consuming, "the consumer's own connection is not blocked");

    watermark("2GB");
    let after = event("log.ERROR");
    running.publisher.publish(&after, soon()).await.unwrap();
    while next(&mut seen).await.event.id != after.id {}
    running.end().await;
    place.channel().await.until_waiting(Queue::Log.name(), 0).await;
}
