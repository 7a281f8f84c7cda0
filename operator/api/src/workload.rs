use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::service::Resources;
use crate::syntax::SUBDOMAIN;
use crate::tuning::Autoscaling;

/// Names that a workload may not have: those of what the operator runs itself.
pub const RESERVED_NAMES: [&str; 11] = [
    "broker",
    "authentication",
    "logger",
    "mail",
    "listener",
    "frontend",
    "postgres",
    "mongodb",
    "rabbitmq",
    "jaeger",
    "mailcatcher",
];

/// A service of your own, which runs beside the built-in ones.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new(format!("!(self.name in {RESERVED_NAMES:?})"))
        .message("the operator gives this name to something of its own")
        .field_path(".name")
)]
#[x_kube(
    validation = Rule::new("has(self.port) || !has(self.protocol)")
        .message("a protocol needs a port")
        .field_path(".port")
)]
#[x_kube(
    validation = Rule::new("has(self.port) || !has(self.allowFrom)")
        .message("who may call needs a port to call")
        .field_path(".port")
)]
#[x_kube(
    validation = Rule::new(
        "has(self.port) || !has(self.probes) || ((!has(self.probes.startup) || has(self.probes.startup.port)) && (!has(self.probes.readiness) || has(self.probes.readiness.port)) && (!has(self.probes.liveness) || has(self.probes.liveness.port)))"
    )
    .message("without a port of the workload, each probe needs one")
    .field_path(".probes")
)]
#[x_kube(
    validation = Rule::new("!(has(self.replicas) && has(self.autoscaling))")
        .message("the autoscaler decides how many pods there are: give one of replicas and autoscaling")
        .field_path(".replicas")
)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// Its name: of its Deployment, Service and ServiceAccount, and the one that others call it by.
    #[schemars(length(min = 1, max = 40), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Its image, such as registry.example/orders:3.
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^[^\s]+$"))]
    pub image: String,
    /// What to run, instead of the image's entry point.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 4096)))]
    pub command: Vec<String>,
    /// Its arguments, instead of the image's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub args: Vec<String>,
    /// Environment variables. Where the Stack has tracing, OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME,
    /// OTEL_RESOURCE_ATTRIBUTES and OTEL_TRACES_SAMPLER_ARG are set too, unless you do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<WorkloadEnv>,
    /// Secrets and ConfigMaps whose keys become environment variables. One that is missing is named in the status, and waited
    /// for; a change of one rolls the pods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub env_from: Vec<EnvFrom>,
    /// The port that it listens on. Without one nobody can call it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// What it speaks on its port. Default: http.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// What each pod asks for and may take. Default: 10m to 2 of cpu, 32Mi to 256Mi of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// How it is found out whether a pod is well. Default: it is ready once its port takes connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<Probes>,
    /// How many pods. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 50))]
    pub replicas: Option<i32>,
    /// As many pods as the load asks for, instead of `replicas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,
    /// Secrets that open the image's registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub image_pull_secrets: Vec<LocalReference>,
    /// Which services and workloads of the Stack may call it. Nobody else may, except the broker where a route leads here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        inner(length(min = 1, max = 40), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub allow_from: Vec<String>,
    /// The user that it runs as, for an image that names none, or names it by a word. Never root. Default: the image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 2147483647))]
    pub run_as_user: Option<i64>,
    /// True forbids writing to the image's files; /tmp can be written all the same. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only_root_filesystem: Option<bool>,
}

/// One environment variable.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadEnv {
    /// The variable's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Its value, as it stands. Secrets belong into a Secret, named in envFrom.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// A Secret or a ConfigMap in the Stack's namespace whose keys become environment variables.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.secretRef) != has(self.configMapRef)").message("give exactly one of secretRef and configMapRef")
)]
#[serde(rename_all = "camelCase")]
pub struct EnvFrom {
    /// A Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalReference>,
    /// A ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<LocalReference>,
    /// What goes before each key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub prefix: Option<String>,
}

/// Something in the Stack's namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub struct LocalReference {
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = SUBDOMAIN))]
    pub name: String,
}

/// What a workload speaks on its port.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// HTTP/1.1: routes of the broker may lead here.
    #[default]
    Http,
    /// gRPC.
    Grpc,
}

/// How it is found out whether a pod is well.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Probes {
    /// Until it has succeeded once, nothing else is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub startup: Option<Probe>,
    /// While it fails, nobody calls the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Probe>,
    /// When it fails, the container is started anew. It should depend on nothing outside of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness: Option<Probe>,
}

/// One question to a pod.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.path) || self.type == 'http'").message("only a probe of type http has a path").field_path(".path")
)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// Whether a GET succeeds, a connection is taken, or gRPC's health service says that it serves.
    #[serde(rename = "type")]
    pub type_: ProbeType,
    /// What is asked for by http. Default: /.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^/[^\s]*$"))]
    pub path: Option<String>,
    /// Default: the workload's port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// How often it is asked. Default: every 10 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub period_seconds: Option<i32>,
    /// How long the answer may take. Default: 1 s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 300))]
    pub timeout_seconds: Option<i32>,
    /// How often in a row it may fail. Default: 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub failure_threshold: Option<i32>,
}

/// How a pod is asked.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum ProbeType {
    /// A GET is answered with 200 to 399.
    Http,
    /// A connection is taken.
    Tcp,
    /// The health service of gRPC says SERVING.
    Grpc,
}

impl Workload {
    /// What it speaks on its port.
    pub fn protocol(&self) -> Protocol {
        self.protocol.unwrap_or_default()
    }
}
