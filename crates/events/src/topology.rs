//! Exchanges and queues, declared alike by everyone who uses them.
//!
//! RabbitMQ refuses (406) to declare a queue again with other arguments, so none of these ever changes. They hold for
//! RabbitMQ 3.10 and 4.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, LongString, ShortString},
};

/// Where every event is published.
pub const EXCHANGE: &str = "events";
/// Where dead letters are published, by RabbitMQ and by consumers.
pub const DEAD_EXCHANGE: &str = "events.dead";
/// The Go original's exchange; what it gets goes on to [`EXCHANGE`].
pub const ORIGINAL_EXCHANGE: &str = "logs_topic";
/// How long a failed message waits before its next attempt, one after the other.
pub const RETRY_DELAYS: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(60)];

/// Delays, one after the other, of a message whose effect is unknown. Long enough for the outcome to become known meanwhile, and few,
/// because each repeat may be a second copy for a person.
pub const UNKNOWN_DELAYS: [Duration; 3] =
    [Duration::from_secs(600), Duration::from_secs(3_600), Duration::from_secs(21_600)];

/// How often a message may crash its consumer.
pub(crate) const DELIVERY_LIMIT: i64 = 20;
/// A dead letter that can't be stored is delivered again and again, and RabbitMQ 4 drops a message after 20 deliveries by default.
const NO_DELIVERY_LIMIT: i64 = 1_000_000_000;

/// A queue that a consumer works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Queue {
    /// Entries for the logger: `log.*`.
    Log,
    /// Mails to send: `mail.*`.
    Mail,
}

impl Queue {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Log, Self::Mail];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "listener.log",
            Self::Mail => "listener.mail",
        }
    }

    /// The events that it gets.
    #[must_use]
    pub const fn binding(self) -> &'static str {
        match self {
            Self::Log => "log.*",
            Self::Mail => "mail.*",
        }
    }

    /// How long a message waits after each attempt whose outcome is unknown. Empty where a repeat does no harm, and the
    /// outcome is therefore never unknown.
    #[must_use]
    pub const fn unknown_delays(self) -> &'static [Duration] {
        match self {
            Self::Log => &[],
            Self::Mail => &UNKNOWN_DELAYS,
        }
    }

    /// The queue where a failed message waits this long.
    #[must_use]
    pub fn retry(self, delay: Duration) -> String {
        format!("{}.retry.{}s", self.name(), delay.as_secs())
    }

    /// The queue that has its dead letters.
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

/// No queue has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such queue: known are {}", Queue::ALL.map(Queue::name).join(" and "))]
pub struct UnknownQueue;

/// Declares everything. Doing it again changes nothing.
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
        // Dead letters first: a message must never have nowhere to go.
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
        // The default exchange, which leads to the queue that has the routing key's name.
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
