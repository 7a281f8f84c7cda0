use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::syntax::{LABEL_KEY, LABEL_VALUE};

/// As many pods as the load asks for, by a HorizontalPodAutoscaler. It needs metrics-server, and a request of cpu.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(
    validation = Rule::new("!has(self.minReplicas) || self.minReplicas <= self.maxReplicas")
        .message("minReplicas is more than maxReplicas")
        .field_path(".minReplicas")
)]
#[serde(rename_all = "camelCase")]
pub struct Autoscaling {
    /// Never fewer pods than this. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 50))]
    pub min_replicas: Option<i32>,
    /// Never more pods than this.
    #[schemars(range(min = 1, max = 50))]
    pub max_replicas: i32,
    /// How busy pods shall be, in percent of the processor time that they ask for. Default: 80.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub target_cpu_percent: Option<i32>,
}

impl Autoscaling {
    /// Never fewer pods than this.
    pub fn min_replicas(&self) -> i32 {
        self.min_replicas.unwrap_or(1)
    }

    /// How busy pods shall be.
    pub fn target_cpu_percent(&self) -> i32 {
        self.target_cpu_percent.unwrap_or(80)
    }
}

/// A taint that pods may be put on a node in spite of.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("has(self.key) || (has(self.operator) && self.operator == 'Exists')")
        .message("without a key the operator has to be Exists, which then is every taint")
        .field_path(".operator")
)]
#[x_kube(
    validation = Rule::new("!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')")
        .message("only the effect NoExecute is tolerated for a time")
        .field_path(".tolerationSeconds")
)]
#[x_kube(
    validation = Rule::new("!has(self.value) || !has(self.operator) || self.operator == 'Equal'")
        .message("a value is compared by the operator Equal alone")
        .field_path(".value")
)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// The taint's key. Without one: every taint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317), regex(pattern = LABEL_KEY))]
    pub key: Option<String>,
    /// Equal, or Exists for any value. Default: Equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<TolerationOperator>,
    /// The taint's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63), regex(pattern = LABEL_VALUE))]
    pub value: Option<String>,
    /// The taint's effect. Without one: every effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
    /// How long a pod stays once its node has the taint NoExecute. Default: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2147483647))]
    pub toleration_seconds: Option<i64>,
}

/// How a taint's value is compared.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TolerationOperator {
    /// Any value.
    Exists,
    /// This value.
    Equal,
}

/// What a taint does to pods that do not tolerate it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaintEffect {
    /// They are not put there.
    NoSchedule,
    /// They are put there only when there is no other place.
    PreferNoSchedule,
    /// They have to go.
    NoExecute,
}

impl TolerationOperator {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exists => "Exists",
            Self::Equal => "Equal",
        }
    }
}

impl TaintEffect {
    /// As Kubernetes writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoSchedule => "NoSchedule",
            Self::PreferNoSchedule => "PreferNoSchedule",
            Self::NoExecute => "NoExecute",
        }
    }
}
