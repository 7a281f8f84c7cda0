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

use crate::helpers::{Place, doing, event, next, soon};

const PUBLISHERS: usize = 8;
const KILLS: usize = 3;

/// Publishes, each event until it is confirmed or `end` is set; returns the ids that were confirmed.
async fn flow(publisher: Publisher, end: Arc<AtomicBool>) -> Vec<String> {
    let mut confirmed = Vec::new();
    while !end.load(Ordering::SeqCst) {
        let event = event("log.INFO");
        if publisher.publish(&event, Instant::now() + Duration::from_secs(1)).await.is_ok() {
            confirmed.push(event.id);
        }
        // Only to keep the number of events small.
        sleep(Duration::from_millis(5)).await;
    }
    confirmed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_confirmed_is_lost_when_rabbitmq_is_killed_while_events_flow() {
    let place = Place::own().await;
    let handled: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let counts = handled.clone();
    let (handler, _seen) = doing(move |event| {
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
            assert!(Instant::now() < deadline, "events do not flow");
            sleep(Duration::from_millis(10)).await;
        }
        place.rabbit.server.kill().await.unwrap();
        place.rabbit.server.start().await.unwrap();
    }
    let before = handled.lock().unwrap().len();
    let deadline = soon();
    while handled.lock().unwrap().len() < before + 100 {
        assert!(Instant::now() < deadline, "events do not flow after the last kill");
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
async fn a_rabbitmq_that_hangs_is_noticed_and_used_again_once_it_goes_on() {
    let place = Place::own().await;
    let (handler, mut seen) = doing(|_| Outcome::Done);
    let mut running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    running.publisher.publish(&event("log.INFO"), soon()).await.unwrap();
    next(&mut seen).await;

    place.rabbit.server.pause().unwrap();
    let start = Instant::now();
    let error =
        running.publisher.publish(&event("log.INFO"), start + Duration::from_secs(1)).await.unwrap_err();
    assert!(
        matches!(&error, PublishError::Unavailable { reason } if reason.contains("no confirmation came")),
        "{error:?}"
    );
    // Two missed heartbeats.
    let noticed = running.status.wait_for(|status| !status.consuming);
    timeout(Duration::from_secs(120), noticed).await.expect("the hang is never noticed").unwrap();

    place.rabbit.server.resume().unwrap();
    let mut running = running.consuming().await;
    let last = event("log.ERROR");
    running.publisher.publish(&last, soon()).await.unwrap();
    while next(&mut seen).await.event.id != last.id {}
    assert!(running.status.borrow_and_update().store.reachable);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rabbitmq_without_memory_takes_no_publications_says_so_and_still_takes_acknowledgements() {
    let place = Place::own().await;
    let (handler, mut seen) = doing(|event| {
        // Still in hand when the alarm goes off.
        std::thread::sleep(Duration::from_millis(if event.kind == "log.WARNING" { 500 } else { 0 }));
        Outcome::Done
    });
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    running.publisher.publish(&event("log.INFO"), soon()).await.unwrap();
    next(&mut seen).await;

    let watermark =
        |value: &str| place.rabbit.server.ctl(&["set_vm_memory_high_watermark", "absolute", value]).unwrap();
    watermark("1MB");
    // RabbitMQ tells a connection that it is blocked when it publishes; the first one still goes out.
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
    assert!(running.publisher.status().message.unwrap().contains("takes no publications"));
    assert!(running.status.borrow().consuming, "the consumer's own connection is not blocked");

    watermark("2GB");
    let after = event("log.ERROR");
    running.publisher.publish(&after, soon()).await.unwrap();
    while next(&mut seen).await.event.id != after.id {}
    running.end().await;
    place.channel().await.until_waiting(Queue::Log.name(), 0).await;
}
