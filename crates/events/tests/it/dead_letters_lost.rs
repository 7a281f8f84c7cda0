//! Dead letters while RabbitMQ goes away.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};
use weft_events::{ConsumerOptions, DeadLetter, DeadLetterError, DeadLetters, Outcome, Queue};

use crate::{
    dead_letters_in_hand::{bury, declared},
    helpers::{Place, doing, soon},
};

const LOG: Queue = Queue::Log;
const LETTERS: i64 = 300;
const KILLS: usize = 3;

/// Replays one after the other until the end is asked for, whatever fails meanwhile.
async fn replay_all(letters: DeadLetters, end: Arc<AtomicBool>) {
    for n in (0..LETTERS).cycle() {
        if end.load(Ordering::SeqCst) {
            return;
        }
        // Some look as well, so that kills meet both.
        if n % 3 == 0 {
            let _ = letters.list(LOG, 10).await;
        }
        let _ = letters.replay(LOG, &format!("id-{n}")).await;
    }
}

async fn once_there(letters: &DeadLetters) -> Vec<DeadLetter> {
    let deadline = soon();
    loop {
        match letters.list(LOG, 1_000).await {
            Ok(listed) => return listed,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_rabbitmq_is_killed_while_dead_letters_are_in_hand() {
    let place = Place::own().await;
    let raw = declared(&place).await;
    place.rabbit.server.sync_declarations().unwrap();
    for n in 0..LETTERS {
        bury(&raw, &format!("id-{n}"), n, b"{}").await;
    }
    raw.until_waiting(&LOG.dead(), 300).await;
    drop(raw);
    let letters = place.dead_letters();
    let end = Arc::new(AtomicBool::new(false));
    let replaying = tokio::spawn(replay_all(letters.clone(), end.clone()));
    for _ in 0..KILLS {
        let raw = place.channel().await;
        let before = raw.waiting(LOG.name()).await;
        let deadline = soon();
        while raw.waiting(LOG.name()).await < before + 5 {
            assert!(Instant::now() < deadline, "nothing is replayed");
            sleep(Duration::from_millis(5)).await;
        }
        place.rabbit.server.kill().await.unwrap();
        place.rabbit.server.start().await.unwrap();
    }
    end.store(true, Ordering::SeqCst);
    replaying.await.unwrap();

    let mut found: BTreeSet<String> =
        once_there(&letters).await.into_iter().map(|letter| letter.id).collect();
    let dead = found.len();
    let (handler, mut seen) = doing(|_| Outcome::Done);
    let running = place.consume(ConsumerOptions::default(), handler).consuming().await;
    place.channel().await.until_waiting(LOG.name(), 0).await;
    running.end().await;
    while let Ok(seen) = seen.try_recv() {
        found.insert(seen.event.id);
    }
    let wanted: BTreeSet<String> = (0..LETTERS).map(|n| format!("id-{n}")).collect();
    assert_eq!(found, wanted, "some are in neither place");
    assert!(dead < wanted.len(), "none was replayed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_rabbitmq_an_operation_fails_at_once_and_says_so() {
    let place = Place::own().await;
    let letters = place.dead_letters();
    place.rabbit.server.kill().await.unwrap();
    let error = letters.list(LOG, 10).await.unwrap_err();
    assert!(
        matches!(&error, DeadLetterError::Unavailable { reason } if reason.contains("connect")),
        "{error}"
    );
    assert!(error.is_transient());
}
