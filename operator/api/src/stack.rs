use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::admin::Admin;
use crate::console::Console;
use crate::edge::{Limits, OpenAction};
use crate::expose::{Expose, Route};
use crate::life::DeletionPolicy;
use crate::mail::Mail;
use crate::moment::Moment;
use crate::service::Services;
use crate::status::StackStatus;
use crate::store::Stores;
use crate::tracing::Tracing;
use crate::workload::Workload;

/// What a Stack is made of.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "weft.dev",
    version = "v1alpha1",
    kind = "Stack",
    namespaced,
    status = "StackStatus",
    derive = "PartialEq",
    shortname = "st",
    category = "weft",
    doc = "A whole microservice application: its services, their stores and its tracing. One in each namespace.",
    annotation("helm.sh/resource-policy", "keep"),
    validation = Rule::new("self.metadata.name.size() <= 63").message("a Stack's name is a label of its objects: at most 63 characters"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "True once everything runs as the spec says"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why it is ready or not"
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.version",
        description = "The version that serves"
    ),
    printcolumn(
        name = "Services",
        type_ = "string",
        json_path = ".status.summary",
        description = "Ready and desired pods of each service"
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        description = "The reason in words",
        priority = 1
    )
)]
#[x_kube(
    validation = Rule::new(
        "!(has(self.stores) && has(self.stores.smtp) && has(self.stores.smtp.external)) || (has(self.mail) && has(self.mail.from))"
    )
    .message("an SMTP server of yours needs the address that mail comes from")
    .field_path(".mail.from")
)]
#[x_kube(
    validation = Rule::new(
        "!has(self.routes) || self.routes.all(r, has(self.workloads) && self.workloads.exists(w, w.name == r.to && has(w.port) && (!has(w.protocol) || w.protocol == 'http')))"
    )
    .message("a route leads to a workload that has a port and speaks http")
    .field_path(".routes")
)]
#[serde(rename_all = "camelCase")]
pub struct StackSpec {
    /// The version of the built-in services: one of those that the operator was installed with (chart value
    /// `versions`). For an unknown one the condition Stalled lists the known ones.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"))]
    pub version: String,

    /// The built-in services. Each runs with its defaults unless it is tuned or switched off here.
    #[serde(default)]
    pub services: Services,

    /// Where the services keep their data. A store that is not named here is managed, with the defaults.
    #[serde(default)]
    pub stores: Stores,

    /// Where traces go. Without it no span leaves the services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracing: Option<Tracing>,

    /// Whom mail comes from, and how it looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mail: Option<Mail>,

    /// The first user, an administrator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,

    /// The addresses that the console is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<Console>,

    /// The origins whose pages may call the broker from a browser, such as http://127.0.0.1:30081. Without one only
    /// pages of the broker's own origin may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        inner(length(min = 8, max = 256), regex(pattern = r"^https?://([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub origins: Vec<String>,

    /// Networks, such as 10.0.0.0/8, whose machines stand before the broker and may say in X-Forwarded-For who calls.
    /// Without one nobody is believed, and limits count by the address that connects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        inner(length(min = 4, max = 49), regex(pattern = r"^[0-9a-fA-F:.]+/[0-9]{1,3}$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub trusted_proxies: Vec<String>,

    /// What one client address may do. What is not named keeps the services' defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,

    /// Actions of the broker that need no sign-in. Everyone who can reach the broker may then use them. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "set"))]
    pub open_actions: Vec<OpenAction>,

    /// What becomes of the data when the Stack is deleted: Retain keeps volumes and the Secrets that open them, and they are
    /// found again when the Stack comes back. Delete has them deleted with the Stack, but only while the Stack also carries
    /// the annotation weft.dev/allow-data-deletion: "true". Default: Retain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,

    /// A moment, such as 2026-11-25T15:00:00Z. Each change of it restarts everything that the Stack runs: services by and
    /// by, a store by leaving for a moment. The moment itself means nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_at: Option<Moment>,

    /// True: the operator writes nothing for this Stack but its status, so that you can change its objects by hand. One thing goes on:
    /// data that would be deleted with the Stack is released when the Stack no longer allows that. False reverts changes made
    /// meanwhile. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,

    /// True scales everything to zero: first what takes requests and events, then the services behind, then the stores.
    /// Data stays. False brings back the replicas of the spec. Default: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<bool>,

    /// Services of your own, which run beside the built-in ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub workloads: Vec<Workload>,

    /// Paths at the broker that lead to workloads: the only way to them from outside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["prefix"]))]
    pub routes: Vec<Route>,

    /// One origin for the console and the broker, by an Ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose: Option<Expose>,

    /// False makes no NetworkPolicies, for a cluster with policies of its own. Default: true, one for each thing that runs, so that
    /// nobody calls whom it has no business with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_policies: Option<bool>,
}
