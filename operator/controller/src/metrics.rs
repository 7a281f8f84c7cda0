//! What the operator counts.

mod stacks;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::runtime::reflector::{ObjectRef, Store};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;
use weft_runtime::metrics::{DURATION_BUCKETS_S, Metrics};

use crate::cache::GuardedStack;
use stacks::Stacks;

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
    leader: Gauge,
    waiting: Arc<Mutex<HashSet<ObjectRef<GuardedStack>>>>,
    queue_depth: Gauge,
    stacks: Stacks,
}

impl OperatorMetrics {
    pub fn register(metrics: &Metrics) -> Self {
        let own = Self {
            reconciles: Family::default(),
            errors: Family::default(),
            writes: Family::default(),
            duration: Histogram::new(DURATION_BUCKETS_S),
            leader: Gauge::default(),
            waiting: Arc::default(),
            queue_depth: Gauge::default(),
            stacks: Stacks::default(),
        };
        metrics.register(|registry| {
            let Self { reconciles, errors, writes, duration, leader, waiting: _, queue_depth, stacks } = &own;
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
            registry.register("weft_operator_leader", "1 while this process leads", leader.clone());
            let help = "Stacks that something happened to and that wait for a pass";
            registry.register("weft_operator_queue_depth", help, queue_depth.clone());
            registry.register_collector(Box::new(stacks.clone()));
        });
        own
    }

    /// Counts the Stacks in here by how they are.
    pub fn watch_stacks(&self, stacks: Store<GuardedStack>) {
        self.stacks.add(stacks);
    }

    pub fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    /// Something happened to this Stack.
    pub fn queued(&self, stack: &ObjectRef<GuardedStack>) {
        self.waiting(|waiting| {
            if !waiting.contains(stack) {
                waiting.insert(stack.clone());
            }
        });
    }

    /// A pass over it begins, or it is gone.
    pub fn begun(&self, stack: &ObjectRef<GuardedStack>) {
        self.waiting(|waiting| {
            waiting.remove(stack);
        });
    }

    /// Who does not lead keeps no queue.
    pub fn discarded(&self) {
        self.waiting(HashSet::clear);
    }

    fn waiting(&self, change: impl FnOnce(&mut HashSet<ObjectRef<GuardedStack>>)) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut waiting);
        self.queue_depth.set(i64::try_from(waiting.len()).unwrap_or(i64::MAX));
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
