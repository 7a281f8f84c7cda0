//! What the consumers of a process share.

use std::sync::Arc;

use weft_runtime::clock::Clock;

use crate::{
    Consumer, ConsumerOptions, EventMetrics, Handler, Publisher, Queue, amqp::CONSUMER_FRAME_BYTES,
    consumer::Worker, link::Link,
};

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

    /// Closes the connection. Whoever still consumes takes nothing more.
    pub async fn close(&self) {
        self.link.close().await;
    }
}
