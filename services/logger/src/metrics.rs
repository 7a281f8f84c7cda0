//! What the logger counts.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use weft_runtime::metrics::DURATION_BUCKETS_S;

use crate::group::WriteError;

/// The logger's metrics. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    entries: Family<ByResult, Counter>,
    queries: Family<ByResult, Counter>,
    group_entries: Histogram,
    insert_seconds: Histogram,
    taken: Counter,
    waiting: Gauge,
    expired: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

impl Metrics {
    /// Registers them with the process's.
    pub fn register(process: &weft_runtime::metrics::Metrics) -> Self {
        let metrics = Self {
            entries: Family::default(),
            queries: Family::default(),
            group_entries: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
            insert_seconds: Histogram::new(DURATION_BUCKETS_S),
            taken: Counter::default(),
            waiting: Gauge::default(),
            expired: Counter::default(),
        };
        process.register(|registry| {
            let Self { entries, queries, group_entries, insert_seconds, taken, waiting, expired } =
                metrics.clone();
            registry.register("log_entries", "Entries that callers asked to store, by result", entries);
            registry.register("log_queries", "Queries, by result", queries);
            registry.register("log_group_entries", "Entries that shared an insert", group_entries);
            registry.register(
                "log_insert_duration_seconds",
                "Time the store took for an insert",
                insert_seconds,
            );
            registry.register("log_writes_taken", "Writes that found room in the queue", taken);
            registry.register("log_writes_waiting", "Writes left waiting when a group was gathered", waiting);
            registry.register("log_entries_expired", "Entries deleted by the logger itself", expired);
        });
        metrics
    }

    pub(crate) fn written(&self, entries: usize, outcome: &Result<Vec<bool>, WriteError>) {
        let count = |result, entries: usize| {
            if entries > 0 {
                self.entries.get_or_create(&ByResult { result }).inc_by(entries as u64);
            }
        };
        match outcome {
            Ok(created) => {
                let new = created.iter().filter(|created| **created).count();
                count("created", new);
                count("already_there", created.len() - new);
            }
            Err(WriteError::Full) => count("refused_full", entries),
            Err(WriteError::Ending) => count("refused_ending", entries),
            Err(WriteError::Store(error)) => count(error.kind(), entries),
        }
    }

    pub(crate) fn queried(&self, error: Option<&'static str>) {
        self.queries.get_or_create(&ByResult { result: error.unwrap_or("ok") }).inc();
    }

    pub(crate) fn inserted(&self, entries: usize, elapsed: Duration) {
        self.group_entries.observe(entries as f64);
        self.insert_seconds.observe(elapsed.as_secs_f64());
    }

    pub(crate) fn taken(&self) {
        self.taken.inc();
    }

    pub(crate) fn waiting(&self, writes: usize) {
        self.waiting.set(i64::try_from(writes).unwrap_or(i64::MAX));
    }

    pub(crate) fn expired(&self, entries: u64) {
        self.expired.inc_by(entries);
    }
}
