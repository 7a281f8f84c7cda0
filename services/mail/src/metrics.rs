//! Metrics of the service.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;
use weft_runtime::metrics::DURATION_BUCKETS_S;

/// Metrics of the service. Clones share the values.
#[derive(Debug, Clone)]
pub struct Metrics {
    sends: Family<Send, Counter>,
    exchanges: Family<Exchange, Histogram, fn() -> Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Send {
    template: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Exchange {
    outcome: &'static str,
}

impl Metrics {
    /// Registers the metrics.
    pub fn register(process: &weft_runtime::metrics::Metrics) -> Self {
        let metrics = Self {
            sends: Family::default(),
            exchanges: Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS_S)),
        };
        process.register(|registry| {
            let Self { sends, exchanges } = metrics.clone();
            registry.register(
                "mail_sends",
                "Mails that callers asked to send, by template and outcome",
                sends,
            );
            let help = "Time of an exchange with the SMTP server, by outcome";
            registry.register_with_unit("mail_smtp_exchange_duration", help, Unit::Seconds, exchanges);
        });
        metrics
    }

    /// Counts a call. `template` is `None` for an unknown name, so that callers can't create any number of label values.
    pub(crate) fn sent(&self, template: Option<&str>, outcome: &'static str) {
        let template = template.unwrap_or("_OTHER").to_owned();
        self.sends.get_or_create(&Send { template, outcome }).inc();
    }

    pub(crate) fn exchanged(&self, outcome: &'static str, elapsed: Duration) {
        self.exchanges.get_or_create(&Exchange { outcome }).observe(elapsed.as_secs_f64());
    }
}
