use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::syntax::SUBDOMAIN;

/// First segments of paths that no route may have: those of the broker, and those of the console beside it.
pub const RESERVED_SEGMENTS: [&str; 11] = [
    "ping",
    "handle",
    "log-grpc",
    "logout",
    "v1",
    ".well-known",
    "logs",
    "trace",
    "dead-letters",
    "account",
    "assets",
];

/// A path at the broker that leads to a workload.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new(format!("!(self.prefix.split('/')[1] in {RESERVED_SEGMENTS:?})"))
        .message("this path is the broker's or the console's own")
        .field_path(".prefix")
)]
#[x_kube(
    validation = Rule::new("self.prefix.split('/').all(segment, segment != '.' && segment != '..')")
        .message("a path has no segments . and ..")
        .field_path(".prefix")
)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The path, such as /shop. It stands for itself and for all below it, by whole segments: not for /shopping. The workload
    /// sees it as the client sent it.
    #[schemars(length(min = 2, max = 128), regex(pattern = r"^(/[A-Za-z0-9._~-]+)+$"))]
    pub prefix: String,
    /// The workload's name. It has to have a port and to speak http.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub to: String,
}

/// One origin for the console and the broker, by an Ingress.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("!self.host.matches('^[0-9]+([.][0-9]+){3}$')")
        .message("an IP address is not a host's name")
        .field_path(".host")
)]
#[serde(rename_all = "camelCase")]
pub struct Expose {
    /// The host's name, such as shop.example.com.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = SUBDOMAIN)
    )]
    pub host: String,
    /// The certificate. With it the session's cookie is for https alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ExposeTls>,
    /// Which ingress controller serves it. Default: the cluster's default. Its network belongs into trustedProxies, so that
    /// limits count by the client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub ingress_class: Option<String>,
}

/// The certificate of the host.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ExposeTls {
    /// A Secret of type kubernetes.io/tls in the Stack's namespace. The ingress controller reads it, the operator does not.
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub secret_name: String,
}

impl Expose {
    /// Scheme and host, as a browser names the origin.
    pub fn origin(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.host)
    }
}
