//! Exchanges and queues. Publishers and consumers declare the same ones.
//!
//! RabbitMQ refuses (406) to declare an existing queue with other arguments, so the arguments must never change. They work with
//! RabbitMQ 3.10 and 4.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, LongString, ShortString},
};

/// The exchange of all events.
pub const EXCHANGE: &str = "events";
/// The exchange of dead letters, used by RabbitMQ and by consumers.
pub const DEAD_EXCHANGE: &str = "events.dead";
/// The Go original's exchange, bound to [`EXCHANGE`].
pub const ORIGINAL_EXCHANGE: &str = "logs_topic";
/// Delays before the next attempt of a failed message, in turn.
pub const RETRY_DELAYS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(60)];

/// Delays of a message whose outcome is unknown, in turn. Long, so that the outcome may become known meanwhile; few, because
/// each repeat may send a person a second copy.
pub const UNKNOWN_DELAYS: [Duration; 3] =
    [Duration::from_secs(600), Duration::from_secs(3_600), Duration::from_secs(21_600)];

/// How often a message is delivered again without an acknowledgement before RabbitMQ dead-letters it.
pub(crate) const DELIVERY_LIMIT: i64 = 20;
/// For dead-letter queues: a letter that can't be stored is delivered repeatedly, and RabbitMQ 4 drops a message after 20
/// deliveries by default.
const NO_DELIVERY_LIMIT: i64 = 1_000_000_000;

/// A queue with a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Queue {
    /// Entries for the logger: `log.*`.
    Log,
    /// Mails to send: `mail.*`.
    Mail,
}

impl Queue {
    /// All queues.
    pub const ALL: [Self; 2] = [Self::Log, Self::Mail];

    /// Name of the queue.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "listener.log",
            Self::Mail => "listener.mail",
        }
    }

    /// Routing keys of the events that the queue receives.
    #[must_use]
    pub const fn binding(self) -> &'static str {
        match self {
            Self::Log => "log.*",
            Self::Mail => "mail.*",
        }
    }

    /// Delays after attempts whose outcome is unknown. Empty if handlers of this queue are idempotent and never report an unknown
    /// outcome.
    #[must_use]
    pub const fn unknown_delays(self) -> &'static [Duration] {
        match self {
            Self::Log => &[],
            Self::Mail => &UNKNOWN_DELAYS,
        }
    }

    /// Name of the retry queue with this delay.
    #[must_use]
    pub fn retry(self, delay: Duration) -> String {
        format!("{}.retry.{}s", self.name(), delay.as_secs())
    }

    /// Name of the dead-letter queue.
    #[must_use]
    pub fn dead(self) -> String {
        format!("{}.dead", self.name())
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Queue {
    type Err = UnknownQueue;

    fn from_str(name: &str) -> Result<Self, UnknownQueue> {
        Self::ALL.into_iter().find(|queue| queue.name() == name).ok_or(UnknownQueue)
    }
}

/// Error for an unknown queue name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown queue: expected {}", Queue::ALL.map(Queue::name).join(" or "))]
pub struct UnknownQueue;

/// Declares all exchanges, queues and bindings. Idempotent.
pub(crate) async fn declare(channel: &Channel) -> lapin::Result<()> {
    for exchange in [EXCHANGE, DEAD_EXCHANGE, ORIGINAL_EXCHANGE] {
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        channel
            .exchange_declare(exchange.into(), ExchangeKind::Topic, durable, FieldTable::default())
            .await?;
    }
    let (to, from) = (EXCHANGE.into(), ORIGINAL_EXCHANGE.into());
    channel
        .exchange_bind(to, from, "#".into(), ExchangeBindOptions::default(), FieldTable::default())
        .await?;
    for queue in Queue::ALL {
        // The dead-letter queue first, so that a message always has a destination.
        declare_queue(channel, &queue.dead(), dead_arguments()).await?;
        bind(channel, &queue.dead(), DEAD_EXCHANGE, queue.name()).await?;
        for delay in RETRY_DELAYS.iter().chain(queue.unknown_delays()) {
            declare_queue(channel, &queue.retry(*delay), retry_arguments(queue, *delay)).await?;
        }
        declare_queue(channel, queue.name(), work_arguments(queue)).await?;
        bind(channel, queue.name(), EXCHANGE, queue.binding()).await?;
    }
    Ok(())
}

async fn declare_queue(channel: &Channel, name: &str, arguments: FieldTable) -> lapin::Result<()> {
    channel.queue_declare(name.into(), QueueDeclareOptions::durable(), arguments).await.map(drop)
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) -> lapin::Result<()> {
    let options = QueueBindOptions::default();
    channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default()).await
}

fn work_arguments(queue: Queue) -> FieldTable {
    arguments(&[
        ("x-queue-type", text("quorum")),
        ("x-delivery-limit", number(DELIVERY_LIMIT)),
        ("x-dead-letter-exchange", text(DEAD_EXCHANGE)),
        ("x-dead-letter-routing-key", text(queue.name())),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ])
}

fn retry_arguments(queue: Queue, delay: Duration) -> FieldTable {
    arguments(&[
        ("x-queue-type", text("quorum")),
        ("x-message-ttl", number(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))),
        // The default exchange, which routes to the queue named by the routing key.
        ("x-dead-letter-exchange", text("")),
        ("x-dead-letter-routing-key", text(queue.name())),
        ("x-dead-letter-strategy", text("at-least-once")),
        ("x-overflow", text("reject-publish")),
    ])
}

fn dead_arguments() -> FieldTable {
    arguments(&[("x-queue-type", text("quorum")), ("x-delivery-limit", number(NO_DELIVERY_LIMIT))])
}

fn arguments(pairs: &[(&str, AMQPValue)]) -> FieldTable {
    let pairs = pairs.iter().map(|(name, value)| (ShortString::from(*name), value.clone()));
    pairs.collect::<BTreeMap<_, _>>().into()
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

fn number(value: i64) -> AMQPValue {
    AMQPValue::LongLongInt(value)
}
