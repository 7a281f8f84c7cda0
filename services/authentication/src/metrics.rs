//! The metrics of authentication.

use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use weft_runtime::metrics::DURATION_BUCKETS_S;

use crate::outbox::{Backlog, Recipient};

/// The metrics. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    sign_ins: Family<ByOutcome, Counter>,
    refreshes: Family<ByOutcome, Counter>,
    hash_seconds: Histogram,
    hashes_waiting: Gauge,
    deliveries: Family<ByDelivery, Counter>,
    outbox_waiting: Family<ByRecipient, Gauge>,
    outbox_oldest_seconds: Family<ByRecipient, Gauge>,
    outbox_failed: Family<ByRecipient, Gauge>,
    unreadable_keys: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDelivery {
    recipient: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByRecipient {
    recipient: &'static str,
}

/// Counts a waiting hash until dropped.
#[derive(Debug)]
pub(crate) struct Waiting(Gauge);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    /// Registers the metrics with the process.
    pub fn register(process: &weft_runtime::metrics::Metrics) -> Self {
        let metrics = Self {
            sign_ins: Family::default(),
            refreshes: Family::default(),
            hash_seconds: Histogram::new(DURATION_BUCKETS_S),
            hashes_waiting: Gauge::default(),
            deliveries: Family::default(),
            outbox_waiting: Family::default(),
            outbox_oldest_seconds: Family::default(),
            outbox_failed: Family::default(),
            unreadable_keys: Gauge::default(),
        };
        process.register(|registry| {
            let Self {
                sign_ins,
                refreshes,
                hash_seconds,
                hashes_waiting,
                deliveries,
                outbox_waiting,
                outbox_oldest_seconds,
                outbox_failed,
                unreadable_keys,
            } = metrics.clone();
            registry.register("auth_sign_ins", "Sign-ins, by outcome", sign_ins);
            registry.register("auth_refreshes", "Refreshes of a session, by outcome", refreshes);
            registry.register("auth_hash_duration_seconds", "Duration of a password hash", hash_seconds);
            registry.register(
                "auth_hashes_waiting",
                "Password hashes that wait for a thread",
                hashes_waiting,
            );
            registry.register(
                "auth_outbox_deliveries",
                "Delivery attempts of outbox letters, by recipient and result",
                deliveries,
            );
            registry.register(
                "auth_outbox_waiting",
                "Letters in the outbox that wait for delivery, counted up to 10000",
                outbox_waiting,
            );
            registry.register(
                "auth_outbox_oldest_seconds",
                "Age of the oldest waiting letter in the outbox",
                outbox_oldest_seconds,
            );
            registry.register(
                "auth_outbox_failed",
                "Failed letters in the outbox, which are not tried again, counted up to 10000",
                outbox_failed,
            );
            registry.register(
                "auth_signing_keys_unreadable",
                "Signing keys that can't be decrypted and are not used",
                unreadable_keys,
            );
        });
        metrics
    }

    pub(crate) fn sign_in(&self, outcome: &'static str) {
        self.sign_ins.get_or_create(&ByOutcome { outcome }).inc();
    }

    pub(crate) fn refresh(&self, outcome: &'static str) {
        self.refreshes.get_or_create(&ByOutcome { outcome }).inc();
    }

    pub(crate) fn hash_waits(&self) -> Waiting {
        self.hashes_waiting.inc();
        Waiting(self.hashes_waiting.clone())
    }

    pub(crate) fn hashed(&self, elapsed: Duration) {
        self.hash_seconds.observe(elapsed.as_secs_f64());
    }

    pub(crate) fn unreadable_keys(&self, count: usize) {
        self.unreadable_keys.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn delivery(&self, recipient: Recipient, result: &'static str) {
        self.deliveries.get_or_create(&ByDelivery { recipient: recipient.as_str(), result }).inc();
    }

    pub(crate) fn backlog(&self, backlog: &Backlog, now: Timestamp) {
        let Backlog { recipient, waiting, oldest, failed } = *backlog;
        let by = ByRecipient { recipient: recipient.as_str() };
        self.outbox_waiting.get_or_create(&by).set(waiting.into());
        self.outbox_failed.get_or_create(&by).set(failed.into());
        let age = oldest.map_or(0, |oldest| now.duration_since(oldest).as_secs().max(0));
        self.outbox_oldest_seconds.get_or_create(&by).set(age);
    }
}
