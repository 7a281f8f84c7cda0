use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::syntax::PORT;

/// Where traces go, and which.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("has(self.managed) != has(self.otlp)").message("give exactly one of managed and otlp"))]
#[serde(rename_all = "camelCase")]
pub struct Tracing {
    /// The operator runs Jaeger, which keeps traces in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<ManagedTracing>,
    /// Spans go to a collector of yours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub otlp: Option<Otlp>,
    /// The share of traces to keep, from 0 to 1, decided where a trace begins. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub ratio: Option<f64>,
    /// True continues a trace that comes from outside; false starts a new one that links to it, because the edge does
    /// not trust who sent it. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trust_incoming: Option<bool>,
}

/// Jaeger, run by the operator.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ManagedTracing {}

/// A collector that takes OTLP.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new(format!("!self.endpoint.matches(':[0-9]+/?$') || self.endpoint.matches(':{PORT}/?$')"))
        .message("a port is 1 to 65535")
        .field_path(".endpoint")
)]
#[serde(rename_all = "camelCase")]
pub struct Otlp {
    /// Its gRPC address, such as http://otel-collector.observability:4317.
    #[schemars(length(min = 8, max = 512), regex(pattern = r"^https?://[^\s/]+/?$"))]
    pub endpoint: String,
}
