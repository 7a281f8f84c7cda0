//! Calls by method and status code, on both sides.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use weft_runtime::metrics::{DURATION_BUCKETS_S, Metrics};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    rpc_method: String,
    rpc_response_status_code: &'static str,
}

/// Durations of calls.
#[derive(Debug, Clone)]
pub(crate) struct Calls(Family<Call, Histogram, fn() -> Histogram>);

impl Calls {
    /// `side` is `client` or `server`.
    pub(crate) fn register(metrics: &Metrics, side: &str) -> Self {
        let calls = Self(Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS_S)));
        metrics.register(|registry| {
            registry.register_with_unit(
                format!("rpc_{side}_call_duration"),
                "How long gRPC calls took, by method and status code",
                prometheus_client::registry::Unit::Seconds,
                calls.0.clone(),
            );
        });
        calls
    }

    pub(crate) fn observe(&self, method: &str, code: &'static str, took: Duration) {
        let call = Call { rpc_method: method.to_owned(), rpc_response_status_code: code };
        self.0.get_or_create(&call).observe(took.as_secs_f64());
    }
}
