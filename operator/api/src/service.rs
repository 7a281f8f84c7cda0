use std::collections::BTreeMap;

use kube::KubeSchema;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::moment::Moment;
use crate::quantity::Quantity;
use crate::syntax::{LABEL_VALUE, label_keys};
use crate::tuning::{Autoscaling, Toleration};

/// The built-in services.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Services {
    /// The single entry point: HTTP in, RPC and events out.
    #[serde(default)]
    pub broker: Service,
    /// Keeps and finds log entries. Needs the store `mongodb`.
    #[serde(default)]
    pub logger: Service,
    /// Consumes events and starts what each asks for. Needs the store `rabbitmq`.
    #[serde(default)]
    pub listener: Service,
    /// Users, their passwords and sessions. Needs the store `postgres`.
    #[serde(default)]
    pub authentication: Service,
    /// Renders and sends mail. Needs the store `smtp`.
    #[serde(default)]
    pub mail: Service,
    /// The console, a web page.
    #[serde(default)]
    pub frontend: Service,
}

/// One built-in service.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("!(has(self.replicas) && has(self.autoscaling))")
        .message("the autoscaler decides how many pods there are: give one of replicas and autoscaling")
        .field_path(".replicas")
)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// False removes the service. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,

    /// How many pods. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 50))]
    pub replicas: Option<i32>,

    /// What each pod asks for and may take. What is not named keeps the service's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,

    /// Settings of the service, such as LOG_RETENTION of the logger. Those that the operator writes itself (addresses,
    /// stores, tracing, limits) are refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvVar>,

    /// A moment, such as 2026-11-25T15:00:00Z. Each change of it restarts the service, pod by pod. The moment itself means
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_at: Option<Moment>,

    /// True has the operator write nothing of this service, so that you can work on its objects by hand. What was changed
    /// meanwhile is put right when it is withdrawn. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,

    /// As many pods as the load asks for, instead of `replicas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<Autoscaling>,

    /// Labels of the nodes that its pods may be put on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend(
        "maxProperties" = 16,
        "additionalProperties" = { "type": "string", "maxLength": 63, "pattern": LABEL_VALUE },
        "x-kubernetes-validations" = [label_keys()]
    ))]
    pub node_selector: BTreeMap<String, String>,

    /// Taints of nodes that its pods may be put on in spite of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub tolerations: Vec<Toleration>,

    /// Labels that its pods have beside the operator's own, such as a team's or a cost centre's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend(
        "maxProperties" = 16,
        "additionalProperties" = { "type": "string", "maxLength": 63, "pattern": LABEL_VALUE },
        "x-kubernetes-validations" = [label_keys(), {
            "rule": "self.all(key, !key.startsWith('app.kubernetes.io/') && !key.startsWith('weft.dev/'))",
            "message": "labels of app.kubernetes.io/ and weft.dev/ are the operator's",
        }]
    ))]
    pub labels: BTreeMap<String, String>,

    /// Which workloads may call it, beside the built-in services that need it. The listener serves nobody, whatever is said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        inner(length(min = 1, max = 40), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub allow_from: Vec<String>,
}

/// Environment variables that the operator writes: a Stack may not.
pub const RESERVED_ENV: [&str; 50] = [
    "AMQP_URI",
    "AMQP_URI_FILE",
    "AUTH_CONSOLE_URL",
    "AUTH_ENCRYPTION_KEYS",
    "AUTH_ENCRYPTION_KEYS_FILE",
    "AUTH_FIRST_USER_EMAIL",
    "AUTH_FIRST_USER_PASSWORD",
    "AUTH_FIRST_USER_PASSWORD_FILE",
    "AUTH_ISSUER",
    "AUTH_RECIPIENT_MAILS_PER_HOUR",
    "AUTH_SIGN_IN_BURST",
    "AUTH_SIGN_IN_PER_MINUTE",
    "BROKER_JAEGER_URL",
    "BROKER_OPEN_ACTIONS",
    "BROKER_OPEN_BYTES_PER_DAY",
    "BROKER_ORIGINS",
    "BROKER_RECIPIENT_MAILS_PER_HOUR",
    "BROKER_REQUESTS_BURST",
    "BROKER_REQUESTS_PER_SECOND",
    "BROKER_ROUTES",
    "BROKER_TOKEN_ISSUER",
    "BROKER_TRUSTED_PROXIES",
    "BROKER_TRUST_INCOMING_TRACES",
    "BROKER_USER_MAILS_PER_HOUR",
    "DATABASE_URL",
    "DATABASE_URL_FILE",
    "FROM_ADDRESS",
    "FROM_NAME",
    "FRONTEND_BROKER_URL",
    "FRONTEND_JAEGER_URL",
    "MAIL_ENCRYPTION",
    "MAIL_HOST",
    "MAIL_PASSWORD",
    "MAIL_PASSWORD_FILE",
    "MAIL_PORT",
    "MAIL_TEMPLATES_DIR",
    "MAIL_USERNAME",
    "MONGODB_URI",
    "MONGODB_URI_FILE",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_SAMPLER_ARG",
    "POD_NAME",
    "WEFT_ADMIN_ADDR",
    "WEFT_DRAIN_DELAY",
    "WEFT_GRPC_ADDR",
    "WEFT_HTTP_ADDR",
    "WEFT_MESH_ADDRESSES",
    "WEFT_MESH_DOMAIN",
    "WEFT_MESH_SECURITY",
];

/// One setting.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new(format!("!(self.name in {RESERVED_ENV:?})"))
        .message("the operator writes this variable itself, from other fields of the spec")
        .field_path(".name")
)]
#[serde(rename_all = "camelCase")]
pub struct EnvVar {
    /// The variable's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[A-Za-z_][A-Za-z0-9_]*$"))]
    pub name: String,
    /// Its value, as it stands. Don't put secrets here: whoever may read the Stack reads them.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// What a pod asks for and may take.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = at_most("cpu"))]
#[x_kube(validation = at_most("memory"))]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What the scheduler keeps free for it. Where no limit is given, a request above the default limit is the limit too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<ResourceList>,
    /// What it may take at most. Where no request is given, a limit below the default request is the request too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<ResourceList>,
}

/// A request is at most its limit, where both are given.
fn at_most(resource: &str) -> Rule {
    let [request, limit] = ["requests", "limits"].map(|list| format!("self.{list}.{resource}"));
    let both = format!("has(self.requests) && has({request}) && has(self.limits) && has({limit})");
    let compared = format!("quantity(string({request})).compareTo(quantity(string({limit}))) <= 0");
    Rule::new(format!("!({both}) || {compared}"))
        .message(format!("requests.{resource} is more than limits.{resource}").as_str())
        .field_path(format!(".requests.{resource}"))
}

/// Processor and memory.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ResourceList {
    /// Processor time, such as 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Quantity>,
    /// Memory, such as 128Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,
}

impl Service {
    /// True unless it is switched off.
    pub fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or(true)
    }

    /// True when the operator writes nothing of it.
    pub fn is_paused(&self) -> bool {
        self.paused.unwrap_or(false)
    }

    /// How many pods it shall have, unless it is autoscaled.
    pub fn replicas(&self) -> i32 {
        self.replicas.unwrap_or(1)
    }
}
