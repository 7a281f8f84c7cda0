//! Call metrics by method and status code, for client and server.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use tonic::Code;
use weft_runtime::metrics::{DURATION_BUCKETS_S, Metrics};

use crate::observed::code_name;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    rpc_method: String,
    rpc_response_status_code: &'static str,
}

/// Label for all methods that this server does not have, because callers can send any number of names.
const OTHER: &str = "_OTHER";

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
                "Duration of gRPC calls, by method and status code",
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

    /// Observes a served call, whose method may not exist. Such a call is answered with UNIMPLEMENTED, unless it ends before
    /// that.
    pub(crate) fn observe_served(&self, method: &str, code: Code, took: Duration) {
        let exists = match code {
            Code::Unimplemented => false,
            Code::Cancelled | Code::DeadlineExceeded => self.has_succeeded(method),
            _ => true,
        };
        self.observe(if exists { method } else { OTHER }, code_name(code), took);
    }

    fn has_succeeded(&self, method: &str) -> bool {
        let call = Call { rpc_method: method.to_owned(), rpc_response_status_code: code_name(Code::Ok) };
        self.0.get(&call).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_that_do_not_exist_share_one_label() {
        let metrics = Metrics::default();
        let calls = Calls::register(&metrics, "server");
        let took = Duration::from_millis(1);
        for number in 0..1_000 {
            for code in [Code::Unimplemented, Code::Cancelled, Code::DeadlineExceeded] {
                calls.observe_served(&format!("weft.log.v1.LogService/Made{number}Up"), code, took);
            }
        }
        for code in [Code::Ok, Code::Cancelled, Code::InvalidArgument] {
            calls.observe_served("weft.log.v1.LogService/Write", code, took);
        }
        let text = metrics.encode();
        let counts: Vec<_> = text.lines().filter(|line| line.contains("_count{")).collect();
        assert_eq!(counts.len(), 6, "{counts:?}");
        for (method, code, count) in [
            (OTHER, "UNIMPLEMENTED", 1_000),
            (OTHER, "CANCELLED", 1_000),
            ("weft.log.v1.LogService/Write", "CANCELLED", 1),
            ("weft.log.v1.LogService/Write", "INVALID_ARGUMENT", 1),
        ] {
            let labels = format!("rpc_method=\"{method}\",rpc_response_status_code=\"{code}\"}} {count}");
            assert!(counts.iter().any(|line| line.ends_with(&labels)), "{labels} is missing in {counts:?}");
        }
    }
}
