//! One RabbitMQ shared by all tests of a run, with a virtual host for each test.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use lapin::{
    Channel, Connection, ConnectionProperties,
    message::{BasicGetMessage, Delivery},
    options::{BasicGetOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;
use weft_devstack::{RabbitMq, StateDir};
use weft_events::{
    Amqp, ConsumerOptions, Consumers, DeadLetter, DeadLetterMover, Event, EventMetrics, Handler, LetterStore,
    LetterStoreError, Outcome, Publisher, Queue, Received,
};
use weft_runtime::{clock, clock::Clock, clock::SystemClock, lifecycle::Shutdown, metrics::Metrics};

/// Timeout of every wait; long enough for a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(120);

/// A RabbitMQ process and its directory, which is removed after the process has ended.
#[derive(Debug)]
pub(crate) struct Rabbit {
    pub(crate) server: RabbitMq,
    _state: StateDir,
}

impl Rabbit {
    /// A RabbitMQ for one test only, which may kill it.
    pub(crate) async fn own() -> Arc<Self> {
        let state = StateDir::temporary().unwrap();
        Arc::new(Self { server: RabbitMq::start(state.path()).await.unwrap(), _state: state })
    }

    /// The RabbitMQ that running tests share.
    async fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Rabbit>> = Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(rabbit) = shared.upgrade() {
            return rabbit;
        }
        let rabbit = Self::own().await;
        *shared = Arc::downgrade(&rabbit);
        rabbit
    }
}

/// A virtual host, which isolates the queues of a test.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) rabbit: Arc<Rabbit>,
    pub(crate) uri: String,
}

impl Place {
    pub(crate) async fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let rabbit = Rabbit::shared().await;
        let host = format!("v{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let uri = format!("{}{host}", rabbit.server.uri().strip_suffix("%2f").unwrap());
        let make = format!(
            "rabbit_vhost:add(<<\"{host}\">>, <<\"test\">>), \
             rabbit_auth_backend_internal:set_permissions(<<\"weft\">>, <<\"{host}\">>, <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"test\">>)."
        );
        let of_task = rabbit.clone();
        tokio::task::spawn_blocking(move || of_task.server.ctl(&["eval", &make]).unwrap()).await.unwrap();
        Self { rabbit, uri }
    }

    /// The default virtual host of a RabbitMQ for one test only.
    pub(crate) async fn own() -> Self {
        let rabbit = Rabbit::own().await;
        let uri = rabbit.server.uri().to_owned();
        Self { rabbit, uri }
    }

    pub(crate) fn amqp(&self) -> Amqp {
        amqp(&self.uri)
    }

    pub(crate) fn publisher(&self) -> Publisher {
        publisher(self.amqp())
    }

    /// Moves dead letters to `store` until the task is aborted.
    pub(crate) fn move_letters(&self, store: &Kept) -> JoinHandle<()> {
        let metrics = EventMetrics::register(&Metrics::default());
        let mover = DeadLetterMover::start(self.amqp(), store.clone(), clock::system(), metrics);
        tokio::spawn(mover.run(Shutdown::default()))
    }

    /// Declares the topology through this crate, and opens a channel.
    pub(crate) async fn declared(&self) -> Raw {
        let publisher = self.publisher();
        publisher.publish(&event("mail.declares"), soon()).await.unwrap();
        self.channel().await
    }

    /// A plain lapin channel, for what other clients do.
    pub(crate) async fn channel(&self) -> Raw {
        let connection = Connection::connect(&self.uri, ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        Raw { channel, connection }
    }

    pub(crate) fn consume(&self, options: ConsumerOptions, handler: impl Handler) -> Running {
        self.consume_from(Queue::Log, options, handler)
    }

    pub(crate) fn consume_from(
        &self,
        queue: Queue,
        options: ConsumerOptions,
        handler: impl Handler,
    ) -> Running {
        let publisher = self.publisher();
        let metrics = EventMetrics::register(&Metrics::default());
        let consumers = Consumers::start(publisher.clone(), clock::system(), metrics);
        let keeper = consumers.clone();
        tokio::spawn(async move { keeper.keep_topology().await });
        let consumer = consumers.of(queue, options, handler);
        let shutdown = Shutdown::default();
        let status = consumer.watch();
        let task = tokio::spawn(consumer.run(shutdown.clone()));
        Running { shutdown, status, publisher, task }
    }
}

pub(crate) fn amqp(uri: &str) -> Amqp {
    Amqp::parse(&uri.to_owned().into()).unwrap()
}

pub(crate) fn publisher(amqp: Amqp) -> Publisher {
    Publisher::start(amqp, EventMetrics::register(&Metrics::default()))
}

/// A running consumer.
pub(crate) struct Running {
    pub(crate) shutdown: Shutdown,
    pub(crate) status: tokio::sync::watch::Receiver<weft_events::ConsumerStatus>,
    pub(crate) publisher: Publisher,
    pub(crate) task: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn consuming(mut self) -> Self {
        timeout(SOON, self.status.wait_for(|status| status.consuming))
            .await
            .expect("the consumer did not start consuming")
            .unwrap();
        self
    }

    /// Shuts the consumer down gracefully.
    pub(crate) async fn end(self) {
        self.shutdown.request();
        timeout(SOON, self.task).await.expect("the consumer did not end").unwrap();
    }

    /// Ends the consumer like a crash: unacknowledged messages return to the queue.
    pub(crate) async fn crash(self) {
        self.shutdown.cut_now();
        timeout(SOON, self.task).await.expect("the consumer did not end").unwrap();
    }
}

/// A handler that calls a function, and sends each event to the test.
pub(crate) struct HandlerFn<F>(F, mpsc::UnboundedSender<Seen>);

#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) event: Received,
    pub(crate) at: Instant,
}

pub(crate) fn handler_fn<F>(act: F) -> (HandlerFn<F>, mpsc::UnboundedReceiver<Seen>)
where
    F: Fn(&Received) -> Outcome + Send + Sync + 'static,
{
    let (tell, seen) = mpsc::unbounded_channel();
    (HandlerFn(act, tell), seen)
}

#[async_trait]
impl<F: Fn(&Received) -> Outcome + Send + Sync + 'static> Handler for HandlerFn<F> {
    async fn handle(&self, event: &Received) -> Outcome {
        let _ = self.1.send(Seen { event: event.clone(), at: Instant::now() });
        (self.0)(event)
    }
}

pub(crate) async fn next(seen: &mut mpsc::UnboundedReceiver<Seen>) -> Seen {
    timeout(SOON, seen.recv()).await.expect("no event arrived").expect("the consumer has ended")
}

pub(crate) fn event(kind: &str) -> Event {
    let data = serde_json::json!({ "name": "test", "data": "d" });
    let clock = SystemClock;
    Event::json(Uuid::new_v4().to_string(), kind.into(), "test".into(), clock.now(), &data).unwrap()
}

pub(crate) fn soon() -> Instant {
    Instant::now() + SOON
}

/// What the in-memory store does with a letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Store,
    Unavailable,
    Refuse,
    /// Stores the letter and never answers.
    StoreAndHang,
}

/// Chooses the answer by the letter's body.
type ByBody = fn(&[u8]) -> Answer;

/// An in-memory store of dead letters. Clones share the letters.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) letters: Arc<std::sync::Mutex<Vec<DeadLetter>>>,
    pub(crate) asked: Arc<AtomicU32>,
    answer: Arc<std::sync::Mutex<ByBody>>,
}

impl Kept {
    pub(crate) fn answering(answer: fn(&[u8]) -> Answer) -> Self {
        Self {
            letters: Arc::default(),
            asked: Arc::default(),
            answer: Arc::new(std::sync::Mutex::new(answer)),
        }
    }

    pub(crate) fn new() -> Self {
        Self::answering(|_| Answer::Store)
    }

    pub(crate) fn answer(&self, answer: fn(&[u8]) -> Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    /// Waits until at least `count` letters are stored.
    pub(crate) async fn until(&self, count: usize) -> Vec<DeadLetter> {
        let deadline = soon();
        loop {
            let letters = self.letters.lock().unwrap().clone();
            if letters.len() >= count {
                return letters;
            }
            assert!(Instant::now() < deadline, "{} of {count} letters are stored", letters.len());
            sleep(Duration::from_millis(20)).await;
        }
    }
}

#[async_trait]
impl LetterStore for Kept {
    async fn store(&self, letter: DeadLetter) -> Result<(), LetterStoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = (*self.answer.lock().unwrap())(&letter.body);
        match answer {
            Answer::Unavailable => return Err(LetterStoreError::Unavailable("away".into())),
            Answer::Refuse => return Err(LetterStoreError::Refused("too large".into())),
            Answer::Store | Answer::StoreAndHang => {
                let mut letters = self.letters.lock().unwrap();
                if letters.iter().all(|other| other.id != letter.id) {
                    letters.push(letter);
                }
            }
        }
        if answer == Answer::StoreAndHang {
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

pub(crate) struct Raw {
    pub(crate) channel: Channel,
    connection: Connection,
}

impl Raw {
    /// Number of ready messages in a queue, without unacknowledged ones.
    pub(crate) async fn waiting(&self, queue: &str) -> u32 {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        self.channel
            .queue_declare(queue.into(), passive, FieldTable::default())
            .await
            .unwrap()
            .message_count()
    }

    /// Waits until a queue has `count` ready messages.
    pub(crate) async fn until_waiting(&self, queue: &str, count: u32) {
        let deadline = soon();
        loop {
            let now = self.waiting(queue).await;
            if now == count {
                return;
            }
            assert!(Instant::now() < deadline, "{queue} has {now} messages, not {count}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// As [`Raw::until_waiting`], for a queue that may not exist yet.
    pub(crate) async fn until_waiting_or_missing(&self, queue: &str, count: u32) {
        let deadline = soon();
        loop {
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            // A missing queue closes the channel.
            let channel = self.connection.create_channel().await.unwrap();
            let now = channel.queue_declare(queue.into(), passive, FieldTable::default()).await;
            if now.as_ref().is_ok_and(|now| now.message_count() == count) {
                return;
            }
            assert!(Instant::now() < deadline, "{queue} has {now:?}, not {count}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Takes the next message, without acknowledging it.
    pub(crate) async fn take(&self, queue: &str) -> Delivery {
        let deadline = soon();
        loop {
            let got: Option<BasicGetMessage> =
                self.channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap();
            if let Some(message) = got {
                return message.delivery;
            }
            assert!(Instant::now() < deadline, "no message arrived in {queue}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(crate) fn header(delivery: &Delivery, name: &str) -> Option<String> {
    match delivery.properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::LongLongInt(number) => Some(number.to_string()),
        other => panic!("the header {name} is {other:?}"),
    }
}
