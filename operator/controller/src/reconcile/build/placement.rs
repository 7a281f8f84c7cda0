//! Where pods run, and how many: spread, taints, autoscalers, disruption budgets.

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricSpec,
    MetricTarget, ResourceMetricSource,
};
use k8s_openapi::api::core::v1::{PodTemplateSpec, Toleration, TopologySpreadConstraint};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use weft_operator_api::{Autoscaling, Service};

use super::{Plan, meta};
use crate::names;
use crate::reconcile::validate::Validated;

const SPREAD_OVER: [&str; 2] = ["topology.kubernetes.io/zone", "kubernetes.io/hostname"];

/// How many pods there are, and who decides it.
pub(super) struct Scale<'a> {
    pub(super) replicas: i32,
    pub(super) autoscaling: Option<&'a Autoscaling>,
}

impl Scale<'_> {
    /// What a Deployment says: nothing where the autoscaler decides, or each apply would undo what it did.
    pub(super) fn written(&self) -> Option<i32> {
        self.autoscaling.is_none().then_some(self.replicas)
    }

    fn least(&self) -> i32 {
        self.autoscaling.map_or(self.replicas, Autoscaling::min_replicas)
    }
}

/// What keeps the pods of a Deployment as many as wanted. A single one has no budget: it would keep a node from being drained.
pub(super) fn keep(plan: &mut Plan, stack: &Validated, name: &str, scale: &Scale<'_>) {
    plan.autoscalers.extend(scale.autoscaling.map(|wanted| autoscaler(stack, name, wanted)));
    if scale.least() >= 2 {
        plan.disruption_budgets.push(budget(stack, name));
    }
}

/// Puts pods on different nodes and in different zones where there are several.
pub(super) fn spread(template: &mut PodTemplateSpec, stack: &Validated, name: &str) {
    let constraint = |key: &str| TopologySpreadConstraint {
        max_skew: 1,
        topology_key: key.to_owned(),
        when_unsatisfiable: "ScheduleAnyway".to_owned(),
        label_selector: Some(selector(stack, name)),
        match_label_keys: Some(vec!["pod-template-hash".to_owned()]),
        ..TopologySpreadConstraint::default()
    };
    let spec = template.spec.get_or_insert_default();
    spec.topology_spread_constraints = Some(SPREAD_OVER.map(constraint).to_vec());
}

/// Puts pods where the Stack wants a service's.
pub(super) fn place(template: &mut PodTemplateSpec, wanted: &Service) {
    let Service { node_selector, tolerations, .. } = wanted;
    let spec = template.spec.get_or_insert_default();
    spec.node_selector = (!node_selector.is_empty()).then(|| node_selector.clone());
    let tolerations: Vec<_> = tolerations.iter().map(toleration).collect();
    spec.tolerations = (!tolerations.is_empty()).then_some(tolerations);
}

fn toleration(wanted: &weft_operator_api::Toleration) -> Toleration {
    let weft_operator_api::Toleration { key, operator, value, effect, toleration_seconds } = wanted;
    Toleration {
        key: key.clone(),
        operator: Some(operator.map_or("Equal", |operator| operator.as_str()).to_owned()),
        value: value.clone(),
        effect: effect.map(|effect| effect.as_str().to_owned()),
        toleration_seconds: *toleration_seconds,
    }
}

fn selector(stack: &Validated, name: &str) -> LabelSelector {
    LabelSelector { match_labels: Some(names::selector(name, &stack.name)), ..LabelSelector::default() }
}

fn budget(stack: &Validated, name: &str) -> PodDisruptionBudget {
    let spec = PodDisruptionBudgetSpec {
        max_unavailable: Some(IntOrString::Int(1)),
        selector: Some(selector(stack, name)),
        // A pod that does not serve keeps nobody from draining its node.
        unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
        ..PodDisruptionBudgetSpec::default()
    };
    PodDisruptionBudget {
        metadata: meta::owned(stack, name),
        spec: Some(spec),
        ..PodDisruptionBudget::default()
    }
}

fn autoscaler(stack: &Validated, name: &str, wanted: &Autoscaling) -> HorizontalPodAutoscaler {
    let target = MetricTarget {
        type_: "Utilization".to_owned(),
        average_utilization: Some(wanted.target_cpu_percent()),
        ..MetricTarget::default()
    };
    let cpu = MetricSpec {
        type_: "Resource".to_owned(),
        resource: Some(ResourceMetricSource { name: "cpu".to_owned(), target }),
        ..MetricSpec::default()
    };
    let spec = HorizontalPodAutoscalerSpec {
        scale_target_ref: CrossVersionObjectReference {
            api_version: Some("apps/v1".to_owned()),
            kind: "Deployment".to_owned(),
            name: name.to_owned(),
        },
        min_replicas: Some(wanted.min_replicas()),
        max_replicas: wanted.max_replicas,
        metrics: Some(vec![cpu]),
        ..HorizontalPodAutoscalerSpec::default()
    };
    HorizontalPodAutoscaler {
        metadata: meta::owned(stack, name),
        spec: Some(spec),
        ..HorizontalPodAutoscaler::default()
    }
}
