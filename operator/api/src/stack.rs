use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::service::Services;
use crate::status::StackStatus;
use crate::store::Stores;
use crate::tracing::Tracing;

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
}
