//! The connection that the consumers of a process share.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use weft_runtime::clock::Clock;

use crate::{
    Consumer, ConsumerOptions, EventMetrics, Handler, Publisher, Queue,
    amqp::CONSUMER_FRAME_BYTES,
    consumer::Worker,
    link::{Link, up},
};

/// How often the topology is declared again. Bounds how long a deleted exchange or binding that nobody publishes to is missing.
const DECLARE_EVERY: Duration = Duration::from_secs(5);

/// Creates consumers that share one connection, with one channel each. The connection is closed by [`Consumers::close`], or
/// when the last clone and the last consumer are dropped.
#[derive(Debug, Clone)]
pub struct Consumers {
    link: Arc<Link>,
    /// Uses another connection: RabbitMQ may block connections that publish, and acknowledgements must continue.
    publisher: Publisher,
    clock: Arc<dyn Clock>,
    metrics: EventMetrics,
}

impl Consumers {
    /// Connects in the background to the publisher's RabbitMQ. Failed messages are moved to other queues by `publisher`.
    #[must_use]
    pub fn start(publisher: Publisher, clock: Arc<dyn Clock>, metrics: EventMetrics) -> Self {
        let amqp = publisher.amqp().clone().with_frame(CONSUMER_FRAME_BYTES);
        let link = Arc::new(Link::start(amqp, "consumer", true, &metrics));
        Self { link, publisher, clock, metrics }
    }

    /// Creates a consumer of `queue`. It receives no messages before [`Consumer::run`].
    pub fn of(&self, queue: Queue, options: ConsumerOptions, handler: impl Handler) -> Consumer {
        let Self { link, publisher, clock, metrics } = self.clone();
        let amqp = publisher.amqp().clone();
        let worker = Worker { amqp, queue, options, handler: Arc::new(handler), publisher, clock, metrics };
        Consumer::new(link, worker)
    }

    /// Declares exchanges, queues and bindings again every 5 s, until the connection is closed. Publishers and consumers detect
    /// by themselves that what they use was deleted. This covers what only other programs use, such as the binding of the Go
    /// original's exchange.
    pub async fn keep_topology(&self) {
        let mut state = self.link.watch();
        while let Some(session) = up(&mut state).await {
            session.redeclare_or_warn(Instant::now()).await;
            sleep(DECLARE_EVERY).await;
        }
    }

    /// Closes the connection. Running consumers receive no more messages.
    pub async fn close(&self) {
        self.link.close().await;
    }
}
