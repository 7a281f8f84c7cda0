//! Moves dead letters from RabbitMQ to the store.
//!
//! **Flow.** One letter at a time is taken from each queue with `basic.get`, stored, and acknowledged. So the process holds at
//! most one body for each queue in memory.
//!
//! **A letter that can't be stored** stays in its queue. It is held unacknowledged, without its body in memory, and requeued
//! later, so that it does not block the letters behind it. While the store is unavailable, the pause between attempts grows to
//! 10 s.
//!
//! **Connection.** The mover has its own. lapin closes a connection that delivers a message whose short strings are not UTF-8,
//! and such a letter must not stop the consumers.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::future::join_all;
use lapin::{
    Acker, Channel,
    message::{BasicGetMessage, Delivery},
    options::{BasicAckOptions, BasicGetOptions, BasicRejectOptions},
};
use tokio::time::{Instant, sleep, timeout};
use weft_runtime::{clock::Clock, lifecycle::Shutdown};

use super::{DeadLetter, LetterStore, LetterStoreError};
use crate::{
    Amqp, EventMetrics, Queue,
    amqp::CONSUMER_FRAME_BYTES,
    link::{Link, Session, up},
    metrics::{Moved, OfQueue},
};

/// Polling interval of an empty queue.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// How long a letter that the store refused is held before the next attempt.
const REFUSED_FOR: Duration = Duration::from_secs(600);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Moves the dead letters of every queue.
pub struct DeadLetterMover {
    link: Link,
    store: Arc<dyn LetterStore>,
    clock: Arc<dyn Clock>,
    metrics: EventMetrics,
}

/// An unacknowledged letter that will be requeued.
struct Held {
    acker: Acker,
    until: Instant,
    refused: bool,
}

impl DeadLetterMover {
    /// Connects in the background.
    #[must_use]
    pub fn start(amqp: Amqp, store: impl LetterStore, clock: Arc<dyn Clock>, metrics: EventMetrics) -> Self {
        let link = Link::start(amqp.with_frame(CONSUMER_FRAME_BYTES), "dead letters", false, &metrics);
        Self { link, store: Arc::new(store), clock, metrics }
    }

    /// Moves letters until `shutdown` is requested. Unacknowledged letters stay in RabbitMQ.
    pub async fn run(self, shutdown: Shutdown) {
        let moving = join_all(Queue::ALL.map(|queue| self.move_all(queue)));
        tokio::select! { _ = moving => {}, () = shutdown.requested() => {} }
        self.link.close().await;
    }

    async fn move_all(&self, queue: Queue) {
        let (mut state, mut pauses) = (self.link.watch(), pauses());
        while let Some(session) = up(&mut state).await {
            let began = Instant::now();
            let Err(error) = self.move_in(queue, &session, &mut pauses).await;
            tracing::warn!(queue = queue.dead(), %error, "moving dead letters interrupted");
            if error.is_not_found() {
                session.redeclare_or_warn(began).await;
            } else if matches!(error, MoveError::NoAnswer) && !session.answers().await {
                session.close().await;
            }
            sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
        }
    }

    /// Moves letters over one channel until it fails.
    async fn move_in(
        &self,
        queue: Queue,
        session: &Session,
        pauses: &mut ExponentialBackoff,
    ) -> Result<std::convert::Infallible, MoveError> {
        let channel = answered(session.connection.create_channel()).await?;
        let mut held: Vec<Held> = Vec::new();
        loop {
            requeue_due(&mut held).await?;
            let Some(message) = take(&channel, queue).await? else {
                self.report_waiting(queue, held.len());
                sleep(POLL_EVERY).await;
                continue;
            };
            let BasicGetMessage { delivery, message_count, .. } = message;
            self.report_waiting(queue, usize::try_from(message_count).unwrap_or(usize::MAX) + held.len() + 1);
            let (acker, stored) = self.store(queue, delivery).await;
            let outcome = stored.as_ref().err().map_or("stored", LetterStoreError::label);
            self.metrics.moved.get_or_create(&Moved { queue: queue.name(), outcome }).inc();
            match stored {
                Ok(()) => {
                    *pauses = self::pauses();
                    answered(acker.ack(BasicAckOptions::default())).await?;
                    // The store is available again.
                    let due = Instant::now();
                    held.iter_mut().filter(|held| !held.refused).for_each(|held| held.until = due);
                }
                Err(LetterStoreError::Refused(_)) => {
                    held.push(Held { acker, until: Instant::now() + REFUSED_FOR, refused: true });
                }
                Err(LetterStoreError::Unavailable(_)) => {
                    let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
                    // Longer than the pause, so that the next attempt is made with another letter if there is one.
                    held.push(Held { acker, until: Instant::now() + 3 * pause, refused: false });
                    sleep(pause).await;
                }
            }
        }
    }

    async fn store(&self, queue: Queue, delivery: Delivery) -> (Acker, Result<(), LetterStoreError>) {
        let acker = delivery.acker.clone();
        let letter = DeadLetter::read(queue, delivery, self.clock.now());
        let (id, event) = (letter.id, letter.event_id.clone());
        let stored = self.store.store(letter).await;
        if let Err(error) = &stored {
            let queue = queue.dead();
            tracing::warn!(queue, %id, event, %error, "failed to store a dead letter: it stays in its queue");
        }
        (acker, stored)
    }

    fn report_waiting(&self, queue: Queue, count: usize) {
        let waiting = self.metrics.waiting.get_or_create_owned(&OfQueue { queue: queue.name() });
        waiting.set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}

impl std::fmt::Debug for DeadLetterMover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetterMover").finish_non_exhaustive()
    }
}

/// Why a channel can't be used any more.
#[derive(Debug, thiserror::Error)]
enum MoveError {
    #[error(transparent)]
    Amqp(#[from] lapin::Error),
    #[error("RabbitMQ did not answer within {} s", ANSWER_WITHIN.as_secs())]
    NoAnswer,
}

impl MoveError {
    fn is_not_found(&self) -> bool {
        matches!(self, Self::Amqp(error) if crate::link::is_not_found(error))
    }
}

async fn take(channel: &Channel, queue: Queue) -> Result<Option<BasicGetMessage>, MoveError> {
    answered(channel.basic_get(queue.dead().into(), BasicGetOptions::default())).await
}

/// Requeues the letters whose hold time has passed.
async fn requeue_due(held: &mut Vec<Held>) -> Result<(), MoveError> {
    let now = Instant::now();
    for Held { acker, .. } in held.extract_if(.., |held| held.until <= now) {
        answered(acker.reject(BasicRejectOptions { requeue: true })).await?;
    }
    Ok(())
}

async fn answered<T>(call: impl Future<Output = lapin::Result<T>>) -> Result<T, MoveError> {
    Ok(timeout(ANSWER_WITHIN, call).await.map_err(|_| MoveError::NoAnswer)??)
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}
