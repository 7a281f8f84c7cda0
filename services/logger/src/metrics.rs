//! The logger's metrics.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use weft_runtime::metrics::DURATION_BUCKETS_S;

use crate::group::{WriteError, Written};
use crate::letter::Stock;

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
    letters: Family<ByQueue, Gauge>,
    letters_oldest: Family<ByQueue, Gauge>,
    letters_expired: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByQueue {
    queue: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByResult {
    result: &'static str,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(process: &weft_runtime::metrics::Metrics) -> Self {
        let metrics = Self {
            entries: Family::default(),
            queries: Family::default(),
            group_entries: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
            insert_seconds: Histogram::new(DURATION_BUCKETS_S),
            taken: Counter::default(),
            waiting: Gauge::default(),
            expired: Counter::default(),
            letters: Family::default(),
            letters_oldest: Family::default(),
            letters_expired: Counter::default(),
        };
        process.register(|registry| {
            let Self { letters, letters_oldest, letters_expired, .. } = metrics.clone();
            registry.register("dead_letters_stored", "Dead letters in the store, by queue", letters);
            let help = "Age of the oldest dead letter in the store, by queue";
            registry.register("dead_letters_oldest_seconds", help, letters_oldest);
            let help = "Dead letters deleted because of LOGGER_DEAD_LETTERS_MAX_AGE";
            registry.register("dead_letters_expired", help, letters_expired);
            let Self { entries, queries, group_entries, insert_seconds, taken, waiting, expired, .. } =
                metrics.clone();
            registry.register("log_entries", "Entries to store, by result", entries);
            registry.register("log_queries", "Queries, by result", queries);
            registry.register("log_group_entries", "Entries in an insert", group_entries);
            registry.register("log_insert_duration_seconds", "Duration of an insert", insert_seconds);
            registry.register("log_writes_taken", "Writes accepted into the queue", taken);
            registry.register("log_writes_waiting", "Writes still waiting after a group was taken", waiting);
            registry.register("log_entries_expired", "Expired entries deleted by the logger", expired);
        });
        metrics
    }

    pub(crate) fn written(&self, entries: usize, outcome: &Result<Vec<Written>, WriteError>) {
        let count = |result, entries: usize| {
            if entries > 0 {
                self.entries.get_or_create(&ByResult { result }).inc_by(entries as u64);
            }
        };
        match outcome {
            Ok(written) => {
                let of = |kind| written.iter().filter(|written| **written == kind).count();
                count("created", of(Written::Created));
                count("already_there", of(Written::Repeated));
                count("conflict", of(Written::Conflict));
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

    /// Sets the gauges of stored letters.
    pub(crate) fn letters(&self, stock: &[Stock], now_ms: i64) {
        self.letters.clear();
        self.letters_oldest.clear();
        for Stock { queue, count, oldest_ms } in stock {
            let label = ByQueue { queue: queue.clone() };
            self.letters.get_or_create(&label).set(i64::try_from(*count).unwrap_or(i64::MAX));
            self.letters_oldest.get_or_create(&label).set(now_ms.saturating_sub(*oldest_ms).max(0) / 1_000);
        }
    }

    pub(crate) fn letters_expired(&self, letters: u64) {
        self.letters_expired.inc_by(letters);
    }

    pub(crate) fn expired(&self, entries: u64) {
        self.expired.inc_by(entries);
    }
}
