//! A managed store: one pod and its volume.

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, PodTemplateSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::ObjectMeta;

use super::meta;
use crate::names;
use crate::reconcile::validate::Validated;

/// The name of the volume in the pod.
pub(super) const DATA_VOLUME: &str = "data";

pub(super) fn build(stack: &Validated, name: &str, storage: &str, template: PodTemplateSpec) -> StatefulSet {
    let spec = StatefulSetSpec {
        replicas: Some(1),
        service_name: Some(name.to_owned()),
        selector: LabelSelector {
            match_labels: Some(names::selector(name, &stack.name)),
            ..LabelSelector::default()
        },
        template,
        volume_claim_templates: Some(vec![claim(stack, name, storage)]),
        // Data outlives the StatefulSet, and the Stack.
        persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
            when_deleted: Some("Retain".to_owned()),
            when_scaled: Some("Retain".to_owned()),
        }),
        pod_management_policy: Some("OrderedReady".to_owned()),
        update_strategy: Some(StatefulSetUpdateStrategy {
            type_: Some("RollingUpdate".to_owned()),
            ..StatefulSetUpdateStrategy::default()
        }),
        revision_history_limit: Some(2),
        ..StatefulSetSpec::default()
    };
    StatefulSet { metadata: meta::owned(stack, name), spec: Some(spec), ..StatefulSet::default() }
}

fn claim(stack: &Validated, name: &str, storage: &str) -> PersistentVolumeClaim {
    let mut labels = names::labels(name, &stack.name);
    labels.insert(names::DATA.to_owned(), "true".to_owned());
    let spec = PersistentVolumeClaimSpec {
        access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
        resources: Some(VolumeResourceRequirements {
            requests: Some([("storage".to_owned(), Quantity(storage.to_owned()))].into()),
            ..VolumeResourceRequirements::default()
        }),
        volume_mode: Some("Filesystem".to_owned()),
        ..PersistentVolumeClaimSpec::default()
    };
    let metadata =
        ObjectMeta { name: Some(DATA_VOLUME.to_owned()), labels: Some(labels), ..ObjectMeta::default() };
    PersistentVolumeClaim { metadata, spec: Some(spec), ..PersistentVolumeClaim::default() }
}
