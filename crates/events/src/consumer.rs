//! Consumes a queue: passes each message to a handler, and acknowledges it only after its effect, or the message itself, is
//! stored elsewhere.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::{FutureExt, StreamExt};
use lapin::{
    Channel,
    message::Delivery,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use weft_runtime::{clock::Clock, lifecycle::Shutdown, status::StoreStatus};

use crate::{
    Amqp, Handler, Outcome, Publisher, Queue, Received,
    decode::{Decoded, decode},
    headers::{self, Headers},
    lane::Message,
    link::{Link, Session, State, is_not_found},
    metrics::{EventMetrics, Handled, OfQueue},
    republish::{carried, republished},
    retry::{self, Step},
    spans::{self, Origin},
    topology::DEAD_EXCHANGE,
};

/// Timeout of one attempt to publish a failed message to another queue.
const MOVE_WITHIN: Duration = Duration::from_secs(10);
const ACK_WITHIN: Duration = Duration::from_secs(10);
const OPEN_WITHIN: Duration = Duration::from_secs(10);
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Options of a consumer.
#[derive(Debug, Clone, Copy)]
pub struct ConsumerOptions {
    /// Maximum number of unacknowledged messages.
    pub prefetch: u16,
    /// Timeout of the handler.
    pub handle_within: Duration,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self { prefetch: 64, handle_within: Duration::from_secs(30) }
    }
}

/// Status of a consumer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsumerStatus {
    /// State of the consumer's connection to RabbitMQ.
    pub store: StoreStatus,
    /// Whether the consumer receives messages.
    pub consuming: bool,
}

/// Consumes one queue, on a channel of its own.
pub struct Consumer {
    link: Arc<Link>,
    worker: Arc<Worker>,
    status: watch::Sender<ConsumerStatus>,
}

/// State shared by all messages being handled.
pub(crate) struct Worker {
    pub(crate) amqp: Amqp,
    pub(crate) queue: Queue,
    pub(crate) options: ConsumerOptions,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) publisher: Publisher,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: EventMetrics,
}

impl Consumer {
    pub(crate) fn new(link: Arc<Link>, worker: Worker) -> Self {
        Self { link, worker: Arc::new(worker), status: watch::Sender::default() }
    }

    /// Current status, and its changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<ConsumerStatus> {
        self.status.subscribe()
    }

    /// Consumes until `shutdown` is requested. After that it takes no new messages, and returns when the messages in hand are
    /// handled or the shutdown is cut. Unacknowledged messages return to the queue.
    pub async fn run(self, shutdown: Shutdown) {
        let slots = Arc::new(Semaphore::new(self.worker.options.prefetch.into()));
        let in_hand = TaskTracker::new();
        let mut pauses = pauses();
        while !shutdown.is_requested() {
            let session = tokio::select! {
                session = self.session() => session,
                () = shutdown.requested() => break,
            };
            let began = Instant::now();
            let consumed = self.consume(&session, &slots, &in_hand, &shutdown, &mut pauses).await;
            self.report(false);
            if let Err(error) = consumed {
                tracing::warn!(queue = self.worker.queue.name(), error = %error, "consuming interrupted");
                // A RabbitMQ that is starting may never answer on a connection: close it. If the connection still answers,
                // only this queue is affected, and the other consumers keep the connection.
                if matches!(error, ConsumeError::NoAnswer) && !session.answers().await {
                    session.close().await;
                } else if error.is_deleted_queue() {
                    session.redeclare_or_warn(began).await;
                }
                let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
                tokio::select! { () = sleep(pause) => {}, () = shutdown.requested() => {} }
            }
        }
        in_hand.close();
        tokio::select! {
            () = in_hand.wait() => {}
            () = shutdown.cut() => tracing::warn!(left = in_hand.len(), "shutdown cut: unacknowledged messages return to the queue"),
        }
    }

    async fn session(&self) -> Arc<Session> {
        let mut state = self.link.watch();
        loop {
            self.report(false);
            if let State::Up(session) = &*state.borrow_and_update() {
                return session.clone();
            }
            if state.changed().await.is_err() {
                // The link is closed: wait for the shutdown.
                std::future::pending::<()>().await;
            }
        }
    }

    async fn consume(
        &self,
        session: &Session,
        slots: &Arc<Semaphore>,
        in_hand: &TaskTracker,
        shutdown: &Shutdown,
        pauses: &mut ExponentialBackoff,
    ) -> Result<(), ConsumeError> {
        let (channel, mut deliveries) =
            timeout(OPEN_WITHIN, self.open(session)).await.map_err(|_| ConsumeError::NoAnswer)??;
        tracing::info!(queue = self.worker.queue.name(), "consuming");
        *pauses = self::pauses();
        self.report(true);
        let mut state = self.link.watch();
        let lost = state.wait_for(|state| !matches!(state, State::Up(now) if now.number == session.number));
        tokio::pin!(lost);
        loop {
            let slot = tokio::select! {
                slot = slots.clone().acquire_owned() => slot.map_err(|_| ConsumeError::Cancelled)?,
                _ = &mut lost => return Err(ConsumeError::Lost),
                () = shutdown.requested() => break,
            };
            let delivery = tokio::select! {
                delivery = deliveries.next() => delivery.ok_or(ConsumeError::Cancelled)??,
                _ = &mut lost => return Err(ConsumeError::Lost),
                () = shutdown.requested() => break,
            };
            in_hand.spawn(self.worker.clone().process(delivery, slot));
        }
        // Errors are ignored because the channel is closed next.
        let cancel = channel.basic_cancel(deliveries.tag(), BasicCancelOptions::default());
        let _ = timeout(ACK_WITHIN, cancel).await;
        in_hand.close();
        tokio::select! { () = in_hand.wait() => {}, () = shutdown.cut() => {} }
        // Closing the channel returns unacknowledged messages to the queue.
        let _ = timeout(CLOSE_WITHIN, channel.close(200, "no longer needed".into())).await;
        Ok(())
    }

    async fn open(&self, session: &Session) -> lapin::Result<(Channel, lapin::Consumer)> {
        let Worker { queue, options, .. } = &*self.worker;
        let channel = session.connection.create_channel().await?;
        channel.basic_qos(options.prefetch, BasicQosOptions { global: false }).await?;
        let deliveries = channel
            .basic_consume(
                queue.name().into(),
                "".into(),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await?;
        Ok((channel, deliveries))
    }

    fn report(&self, consuming: bool) {
        let status = ConsumerStatus { store: self.link.status(), consuming };
        self.status.send_if_modified(|old| {
            let changed = *old != status;
            *old = status;
            changed
        });
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("queue", &self.worker.queue).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
enum ConsumeError {
    #[error(transparent)]
    Amqp(#[from] lapin::Error),
    #[error("RabbitMQ cancelled the consumer")]
    Cancelled,
    #[error("the connection was lost")]
    Lost,
    #[error("RabbitMQ did not answer within {} s", OPEN_WITHIN.as_secs())]
    NoAnswer,
}

impl ConsumeError {
    /// Whether the queue may have been deleted.
    fn is_deleted_queue(&self) -> bool {
        match self {
            Self::Cancelled => true,
            Self::Amqp(error) => is_not_found(error),
            Self::Lost | Self::NoAnswer => false,
        }
    }
}

impl Worker {
    async fn process(self: Arc<Self>, mut delivery: Delivery, _slot: OwnedSemaphorePermit) {
        let Decoded { received, headers, fault } = decode(&mut delivery, self.clock.as_ref());
        let (exchange, key) = (delivery.exchange.as_str(), delivery.routing_key.as_str());
        let origin = Origin { exchange, key, queue: self.queue.name() };
        let span = spans::process(&self.amqp, &origin, &received, &headers);
        let of_queue = OfQueue { queue: self.queue.name() };
        self.metrics.in_hand.get_or_create(&of_queue).inc();
        let work = async {
            let outcome = match fault {
                Some(fault) => Outcome::Rejected(fault.to_string()),
                None => self.handle(&received).await,
            };
            self.settle(&delivery, &received, headers, outcome).await;
        };
        work.instrument(span).await;
        self.metrics.in_hand.get_or_create(&of_queue).dec();
    }

    async fn handle(&self, event: &Received) -> Outcome {
        let start = Instant::now();
        let within = self.options.handle_within;
        let handled = timeout(within, AssertUnwindSafe(self.handler.handle(event)).catch_unwind()).await;
        let queue = self.queue.name();
        self.metrics.handle_time.get_or_create(&OfQueue { queue }).observe(start.elapsed().as_secs_f64());
        match handled {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => {
                Outcome::Retry(format!("the handler panicked: {}", panic_message(panic.as_ref())))
            }
            Err(_) => Outcome::Unavailable(format!("the handler timed out after {} s", within.as_secs_f64())),
        }
    }

    /// Acknowledges the message after its effect, or the message itself, is stored elsewhere.
    async fn settle(&self, delivery: &Delivery, event: &Received, headers: Headers, outcome: Outcome) {
        let label = label(&outcome);
        self.metrics.handled.get_or_create(&Handled { queue: self.queue.name(), outcome: label }).inc();
        let step = retry::next(self.queue, outcome, event, self.clock.now());
        if let Step::Wait { reason, .. } | Step::Bury { reason, .. } = &step {
            spans::failed(&tracing::Span::current(), Some((label, reason.clone())));
        }
        let moved = match step {
            Step::Acknowledge => true,
            Step::Wait { delay, reason, counts } => {
                tracing::warn!(
                    event = event.id,
                    attempts = counts.attempts,
                    reason,
                    delay_s = delay.as_secs(),
                    "event failed: it will be retried"
                );
                let mut headers = carried(event, headers, counts);
                headers.set_reason(headers::REASON, &reason);
                self.move_to("", &self.queue.retry(delay), headers, delivery, event).await
            }
            Step::Bury { reason, counts } => {
                let attempts = counts.attempts;
                tracing::error!(event = event.id, attempts, reason, "event failed: it becomes a dead letter");
                let mut headers = carried(event, headers, counts);
                headers.set_reason(headers::DEAD_REASON, &reason);
                headers.set_text(headers::DEAD_QUEUE, self.queue.name());
                headers.set_text(headers::DEAD_AT, &self.clock.now().to_string());
                self.move_to(DEAD_EXCHANGE, self.queue.name(), headers, delivery, event).await
            }
        };
        if moved {
            acknowledge(delivery, event).await;
        }
    }

    /// Publishes the message to another queue. Retries until RabbitMQ confirms it (`true`), or until the delivery's channel is
    /// closed (`false`) and RabbitMQ delivers the message again.
    async fn move_to(
        &self,
        exchange: &'static str,
        key: &str,
        headers: Headers,
        from: &Delivery,
        event: &Received,
    ) -> bool {
        let properties = republished(&from.properties, headers);
        let message = Message { exchange, key: key.into(), properties, body: &event.data };
        let mut pauses = pauses();
        while from.acker.usable() {
            let span = spans::send(&self.amqp, exchange, key, &event.id, event.data.len());
            let sent =
                self.publisher.send(&message, Instant::now() + MOVE_WITHIN).instrument(span.clone()).await;
            let Err(error) = sent else { return true };
            spans::failed(&span, Some((error.label(), error.to_string())));
            tracing::warn!(event = event.id, %error, to = key, "failed to move the event to another queue: it stays unacknowledged");
            sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
        }
        false
    }
}

async fn acknowledge(delivery: &Delivery, event: &Received) {
    let error = match timeout(ACK_WITHIN, delivery.acker.ack(BasicAckOptions::default())).await {
        Ok(Ok(true)) => return,
        Ok(Ok(false)) => "the channel is closed".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("timed out after {} s", ACK_WITHIN.as_secs()),
    };
    tracing::info!(event = event.id, error, "failed to acknowledge the event: it will be delivered again");
}

fn label(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Retry(_) => "retry",
        Outcome::Unavailable(_) => "unavailable",
        Outcome::Unknown(_) => "unknown",
        Outcome::Rejected(_) => "rejected",
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
}
