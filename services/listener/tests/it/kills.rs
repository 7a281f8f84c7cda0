use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};
use weft_events::{Event, Publisher, Queue, topology::UNKNOWN_DELAYS};

use crate::helpers::{Pipeline, event, mail_event, missing_mails, soon};

const SOURCE: &str = "kills";
const BETWEEN_KILLS: usize = 40;

/// Publishes until `end` is set. Returns the confirmed ids.
async fn flow(
    publisher: Publisher,
    next: impl Fn() -> Event,
    count: Arc<AtomicUsize>,
    end: Arc<AtomicBool>,
) -> HashSet<String> {
    let mut confirmed = HashSet::new();
    while !end.load(Ordering::SeqCst) {
        let event = next();
        if publisher.publish(&event, Instant::now() + Duration::from_secs(1)).await.is_ok() {
            confirmed.insert(event.id);
            count.fetch_add(1, Ordering::SeqCst);
        }
        // Keeps the number of events small.
        sleep(Duration::from_millis(10)).await;
    }
    confirmed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_confirmed_event_has_its_effect_when_processes_are_killed() {
    let pipeline = Pipeline::start_with_management().await;
    let (count, end) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let entry = || event(SOURCE, "log.INFO", r#"{"name":"n","data":"d"}"#);
    let entries = tokio::spawn(flow(pipeline.publisher.clone(), entry, count.clone(), end.clone()));
    let mails =
        tokio::spawn(flow(pipeline.publisher.clone(), || mail_event("kills"), count.clone(), end.clone()));
    let progress = async || {
        let (before, deadline) = (count.load(Ordering::SeqCst), soon());
        while count.load(Ordering::SeqCst) < before + BETWEEN_KILLS {
            assert!(Instant::now() < deadline, "no events are confirmed");
            sleep(Duration::from_millis(10)).await;
        }
    };
    progress().await;
    pipeline.rabbitmq.sync_declarations().unwrap();
    let victims = [
        &*pipeline.listener,
        &*pipeline.mail,
        &*pipeline.logger,
        &*pipeline.mongodb,
        &*pipeline.rabbitmq,
        &*pipeline.maildev,
        &*pipeline.mail,
        &*pipeline.listener,
    ];
    for process in victims {
        process.kill().await.unwrap();
        process.start_unready().unwrap();
        process.await_ready().await.unwrap();
        progress().await;
    }
    end.store(true, Ordering::SeqCst);
    let (entries, mails) = (entries.await.unwrap(), mails.await.unwrap());
    until_stored(&pipeline, &entries).await;
    until_sent_or_unknown(&pipeline, &mails).await;
    for queue in ["listener.log", "listener.mail"] {
        assert!(pipeline.until_letters(queue, 0).await.is_empty(), "{queue} has dead letters");
    }
}

/// Waits until each event has arrived as a mail, or waits ten minutes for its next attempt because nobody knows whether it was
/// sent: a kill after the end of a mail and before the reply has this outcome.
async fn until_sent_or_unknown(pipeline: &Pipeline, confirmed: &HashSet<String>) {
    let deadline = soon();
    let mut unknown = HashSet::new();
    loop {
        // The next turn asks again when this one got no answer.
        let waiting = pipeline.take_all(&Queue::Mail.retry(UNKNOWN_DELAYS[0])).await;
        unknown.extend(waiting.into_iter().flatten());
        let missing = missing_mails(&pipeline.mails().await, confirmed);
        let lost: Vec<_> = missing.iter().filter(|id| !unknown.contains(**id)).collect();
        let of = confirmed.len();
        if lost.is_empty() {
            assert!(missing.len() < of / 2, "{} of {of} were not sent: {missing:?}", missing.len());
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{} of {of} were lost: {lost:?}; {}",
            lost.len(),
            pipeline.listener.log_tail()
        );
        sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until each event is stored. Panics if one is stored twice.
async fn until_stored(pipeline: &Pipeline, confirmed: &HashSet<String>) {
    let deadline = soon();
    loop {
        // The logger may not be connected to its store yet.
        let stored = pipeline.entries(SOURCE).await.unwrap_or_default();
        let missing: Vec<_> = confirmed.iter().filter(|id| !stored.contains_key(*id)).collect();
        if missing.is_empty() {
            return;
        }
        let of = confirmed.len();
        assert!(
            Instant::now() < deadline,
            "{} of {of} were lost: {missing:?}; {}",
            missing.len(),
            pipeline.listener.log_tail()
        );
        sleep(Duration::from_millis(200)).await;
    }
}
