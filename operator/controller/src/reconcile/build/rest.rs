//! A stopped Stack: everything at zero, in an order in which nothing is lost.

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};

use super::Plan;
use crate::reconcile::validate::Validated;

/// Scales to zero what is due.
pub(super) fn stop(plan: &mut Plan, stack: &Validated) {
    let due = |name: &Option<String>| name.as_ref().is_some_and(|name| stack.life.is_stopped(name));
    for Deployment { metadata, spec, .. } in &mut plan.deployments {
        if let Some(spec) = spec.as_mut().filter(|_| due(&metadata.name)) {
            spec.replicas = Some(0);
        }
    }
    for StatefulSet { metadata, spec, .. } in &mut plan.stateful_sets {
        if let Some(spec) = spec.as_mut().filter(|_| due(&metadata.name)) {
            spec.replicas = Some(0);
        }
    }
}
