//! Metrics about events.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Unit,
};
use weft_runtime::metrics::{DURATION_BUCKETS_S, Metrics};

/// Metrics of publisher, consumers and connections. Registered once a process and shared.
#[derive(Debug, Clone)]
pub struct EventMetrics {
    pub(crate) published: Family<Outcome, Counter>,
    pub(crate) publish_time: Histogram,
    pub(crate) handled: Family<Handled, Counter>,
    pub(crate) handle_time: Family<OfQueue, Histogram>,
    pub(crate) in_hand: Family<OfQueue, Gauge>,
    pub(crate) connected: Family<Connection, Gauge>,
    pub(crate) moved: Family<Moved, Counter>,
    pub(crate) waiting: Family<OfQueue, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Outcome {
    pub(crate) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Handled {
    pub(crate) queue: &'static str,
    pub(crate) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Moved {
    pub(crate) queue: &'static str,
    pub(crate) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OfQueue {
    pub(crate) queue: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Connection {
    pub(crate) connection: &'static str,
}

impl EventMetrics {
    /// Registers the metrics.
    #[must_use]
    pub fn register(metrics: &Metrics) -> Self {
        let own = Self {
            published: Family::default(),
            publish_time: Histogram::new(DURATION_BUCKETS_S),
            handled: Family::default(),
            handle_time: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS_S)),
            in_hand: Family::default(),
            connected: Family::default(),
            moved: Family::default(),
            waiting: Family::default(),
        };
        metrics.register(|registry| {
            let events = registry.sub_registry_with_prefix("events");
            events.register("published", "Publications, by outcome", own.published.clone());
            let help = "Time from a publication's start to its confirmation or failure";
            events.register_with_unit("publish_duration", help, Unit::Seconds, own.publish_time.clone());
            events.register(
                "handled",
                "Attempts to handle an event, by queue and outcome",
                own.handled.clone(),
            );
            let help = "Time that a handler took";
            events.register_with_unit("handle_duration", help, Unit::Seconds, own.handle_time.clone());
            events.register(
                "in_hand",
                "Unacknowledged messages being handled, by queue",
                own.in_hand.clone(),
            );
            let help = "1 while the connection to RabbitMQ is open, 0 otherwise";
            registry.register("rabbitmq_connected", help, own.connected.clone());
            let help = "Attempts to move a dead letter to the store, by queue and outcome";
            registry.register("dead_letters_moved", help, own.moved.clone());
            let help = "Dead letters that are still in RabbitMQ, by queue";
            registry.register("dead_letters_waiting", help, own.waiting.clone());
        });
        own
    }
}
