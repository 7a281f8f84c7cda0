//! What the operator counts.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;
use weft_runtime::metrics::{DURATION_BUCKETS_S, Metrics};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Write {
    verb: &'static str,
    kind: &'static str,
}

/// The operator's own metrics.
#[derive(Debug, Clone)]
pub struct OperatorMetrics {
    reconciles: Family<Outcome, Counter>,
    errors: Family<Failure, Counter>,
    writes: Family<Write, Counter>,
    duration: Histogram,
}

impl OperatorMetrics {
    pub fn register(metrics: &Metrics) -> Self {
        let own = Self {
            reconciles: Family::default(),
            errors: Family::default(),
            writes: Family::default(),
            duration: Histogram::new(DURATION_BUCKETS_S),
        };
        metrics.register(|registry| {
            let Self { reconciles, errors, writes, duration } = &own;
            registry.register(
                "weft_operator_reconciles",
                "Passes over a Stack, by result",
                reconciles.clone(),
            );
            registry.register("weft_operator_errors", "Failures, by kind", errors.clone());
            registry.register("weft_operator_writes", "Requests that change the cluster", writes.clone());
            let help = "How long a pass over a Stack took";
            registry.register_with_unit(
                "weft_operator_reconcile_duration",
                help,
                Unit::Seconds,
                duration.clone(),
            );
        });
        own
    }

    pub fn reconciled(&self, result: &'static str, took: Duration) {
        self.reconciles.get_or_create(&Outcome { result }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    pub fn failed(&self, kind: &'static str) {
        self.errors.get_or_create(&Failure { kind }).inc();
    }

    pub fn wrote(&self, verb: &'static str, kind: &'static str) {
        self.writes.get_or_create(&Write { verb, kind }).inc();
    }
}
