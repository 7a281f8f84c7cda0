//! What the consumers of a process share.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use weft_runtime::clock::Clock;

use crate::{
    Consumer, ConsumerOptions, EventMetrics, Handler, Publisher, Queue,
    amqp::CONSUMER_FRAME_BYTES,
    consumer::Worker,
    link::{Link, up},
};

/// How soon an exchange or a binding is back that was deleted while nothing was published to it.
const DECLARE_EVERY: Duration = Duration::from_secs(5);

/// Makes consumers that share one connection; each has a channel of its own. The connection is closed by
/// [`Consumers::close`], or with the last clone and the last consumer.
#[derive(Debug, Clone)]
pub struct Consumers {
    link: Arc<Link>,
    /// On another connection: RabbitMQ blocks connections that publish, and acknowledgements must go on.
    publisher: Publisher,
    clock: Arc<dyn Clock>,
    metrics: EventMetrics,
}

impl Consumers {
    /// Starts connecting in the background, to where the publisher does. What fails is stored elsewhere by the publisher.
    #[must_use]
    pub fn start(publisher: Publisher, clock: Arc<dyn Clock>, metrics: EventMetrics) -> Self {
        let amqp = publisher.amqp().clone().with_frame(CONSUMER_FRAME_BYTES);
        let link = Arc::new(Link::start(amqp, "consumer", true, &metrics));
        Self { link, publisher, clock, metrics }
    }

    /// A consumer of this queue. It takes no message before [`Consumer::run`].
    pub fn of(&self, queue: Queue, options: ConsumerOptions, handler: impl Handler) -> Consumer {
        let Self { link, publisher, clock, metrics } = self.clone();
        let amqp = publisher.amqp().clone();
        let worker = Worker { amqp, queue, options, handler: Arc::new(handler), publisher, clock, metrics };
        Consumer::new(link, worker)
    }

    /// Declares exchanges, queues and bindings again every few seconds, until the connection is closed. Publishers and consumers
    /// notice by themselves that what they use was deleted; nobody else would notice it of what only others use, such as the
    /// binding of the Go original's exchange.
    pub async fn keep_topology(&self) {
        let mut state = self.link.watch();
        while let Some(session) = up(&mut state).await {
            session.redeclare_or_warn(Instant::now()).await;
            sleep(DECLARE_EVERY).await;
        }
    }

    /// Closes the connection. Whoever still consumes takes nothing more.
    pub async fn close(&self) {
        self.link.close().await;
    }
}
