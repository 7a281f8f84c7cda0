//! What is known of the cluster: one small view of each object of ours, kept by watches.

mod packed;
mod store;

use std::fmt::Debug;
use std::slice;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::{DeserializeGuard, ObjectMeta, PartialObjectMeta};
use kube::runtime::reflector;
use kube::runtime::reflector::ObjectRef;
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use weft_operator_api::Stack;

use crate::names;
use crate::view::{DeploymentView, JobView, Ours, OwnedView, SecretView, StatefulSetView};

pub use store::{Keep, Store, WatchEnded, Writer, store};

/// A Stack, or, when it can't be read, its metadata and why: one that can't be read must not end the watch of all.
pub type GuardedStack = DeserializeGuard<Stack>;

/// The Secrets of stores, and that of authentication, which the operator gives to Stacks. It may watch no others. (`<stack>-admin`, whose name it can't
/// know before, is read in each pass.)
pub const SECRETS: [&str; 13] = [
    "mongodb",
    "mongodb-external",
    "mongodb-next",
    "mongodb-superuser",
    "postgres",
    "postgres-external",
    "postgres-next",
    "postgres-superuser",
    "rabbitmq",
    "rabbitmq-external",
    "rabbitmq-next",
    "rabbitmq-superuser",
    names::ENCRYPTION_SECRET,
];

/// One store for each kind.
#[derive(Clone)]
pub struct Cache {
    pub stacks: reflector::Store<GuardedStack>,
    pub deployments: Store<DeploymentView>,
    pub stateful_sets: Store<StatefulSetView>,
    /// Those that keep pod templates.
    pub controller_revisions: Store<OwnedView<ControllerRevision>>,
    pub jobs: Store<JobView>,
    pub services: Store<OwnedView<Service>>,
    pub service_accounts: Store<OwnedView<ServiceAccount>>,
    pub config_maps: Store<OwnedView<ConfigMap>>,
    pub disruption_budgets: Store<OwnedView<PodDisruptionBudget>>,
    pub autoscalers: Store<OwnedView<HorizontalPodAutoscaler>>,
    pub network_policies: Store<OwnedView<NetworkPolicy>>,
    pub ingresses: Store<OwnedView<Ingress>>,
    /// One for each name in [`SECRETS`].
    pub secrets: Vec<Store<SecretView>>,
    /// Namespaces that name a release; none when the namespaces to look after were chosen.
    pub namespaces: Option<Store<PartialObjectMeta<Namespace>>>,
}

/// A kind that the operator applies and watches.
pub trait Kind:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Serialize + DeserializeOwned + Clone + Debug
{
    /// What is kept of each.
    type View: Keep;
    const KIND: &'static str;

    fn stores(cache: &Cache) -> &[Store<Self::View>];

    /// What of one is ours, for kinds of which that is kept.
    fn ours(view: &Self::View) -> Ours;

    /// What was last seen of one, and what of it is ours.
    fn seen(cache: &Cache, namespace: &str, name: &str) -> Option<(ObjectMeta, Ours)> {
        let reference = ObjectRef::new(name).within(namespace);
        let found = Self::stores(cache).iter().find_map(|store| store.get(&reference));
        found.map(|view| (view.meta().clone(), Self::ours(&view)))
    }

    /// All that the owner with this uid has.
    fn owned(cache: &Cache, namespace: &str, owner: &str) -> Vec<ObjectMeta> {
        let is_owned = |meta: &ObjectMeta| {
            meta.owner_references.iter().flatten().any(|reference| reference.uid == owner)
        };
        let of = |store: &Store<Self::View>| store.in_namespace(namespace);
        let metas = Self::stores(cache).iter().flat_map(of).map(|view| view.meta().clone());
        metas.filter(is_owned).collect()
    }
}

impl Kind for Deployment {
    type View = DeploymentView;
    const KIND: &'static str = "Deployment";
    fn stores(cache: &Cache) -> &[Store<Self::View>] {
        slice::from_ref(&cache.deployments)
    }
    fn ours(view: &Self::View) -> Ours {
        view.ours
    }
}

impl Kind for StatefulSet {
    type View = StatefulSetView;
    const KIND: &'static str = "StatefulSet";
    fn stores(cache: &Cache) -> &[Store<Self::View>] {
        slice::from_ref(&cache.stateful_sets)
    }
    fn ours(view: &Self::View) -> Ours {
        view.ours
    }
}

impl Kind for ControllerRevision {
    type View = OwnedView<ControllerRevision>;
    const KIND: &'static str = "ControllerRevision";
    fn stores(cache: &Cache) -> &[Store<Self::View>] {
        slice::from_ref(&cache.controller_revisions)
    }
    fn ours(view: &Self::View) -> Ours {
        view.ours
    }
}

impl Kind for Job {
    type View = JobView;
    const KIND: &'static str = "Job";
    fn stores(cache: &Cache) -> &[Store<Self::View>] {
        slice::from_ref(&cache.jobs)
    }
    fn ours(view: &Self::View) -> Ours {
        view.ours
    }
}

impl Kind for Service {
    type View = OwnedView<Service>;
    const KIND: &'static str = "Service";
    fn stores(cache: &Cache) -> &[Store<Self::View>] {
        slice::from_ref(&cache.services)
    }
    fn ours(view: &Self::View) -> Ours {
        view.ours
    }
}

impl Kind for ServiceAccount {
    type View = OwnedView<ServiceAccount>;
    const KIND: &'static str = "ServiceAccount";
    fn stores(cache: &Cache) -> &[Store<Self::View>] {
        slice::from_ref(&cache.service_accounts)
    }
    fn ours(view: &Self::View) -> Ours {
        view.ours
    }
}

impl Kind for ConfigMap {
    type View = OwnedView<ConfigMap>;
    const KIND: &'static str = "ConfigMap";
    fn stores(cache: &Cache) -> &[Store<Self::View>] {
        slice::from_ref(&cache.config_maps)
    }
    fn ours(view: &Self::View) -> Ours {
        view.ours
    }
}

impl Kind for PodDisruptionBudget {
    type View = OwnedView<PodDisruptionBudget>;
    const KIND: &'static str = "PodDisruptionBudget";
    fn stores(cache: &Cache) -> &[Store<Self::View>] {
        slice::from_ref(&cache.disruption_budgets)
    }
    fn ours(view: &Self::View) -> Ours {
        view.ours
    }
}

impl Kind for HorizontalPodAutoscaler {
    type View = OwnedView<HorizontalPodAutoscaler>;
    const KIND: &'static str = "HorizontalPodAutoscaler";
    fn stores(cache: &Cache) -> &[Store<Self::View>] {
        slice::from_ref(&cache.autoscalers)
    }
    fn ours(view: &Self::View) -> Ours {
        view.ours
    }
}

impl Kind for NetworkPolicy {
    type View = OwnedView<NetworkPolicy>;
    const KIND: &'static str = "NetworkPolicy";
    fn stores(cache: &Cache) -> &[Store<Self::View>] {
        slice::from_ref(&cache.network_policies)
    }
    fn ours(view: &Self::View) -> Ours {
        view.ours
    }
}

impl Kind for Ingress {
    type View = OwnedView<Ingress>;
    const KIND: &'static str = "Ingress";
    fn stores(cache: &Cache) -> &[Store<Self::View>] {
        slice::from_ref(&cache.ingresses)
    }
    fn ours(view: &Self::View) -> Ours {
        view.ours
    }
}

impl Kind for Secret {
    type View = SecretView;
    const KIND: &'static str = "Secret";
    fn stores(cache: &Cache) -> &[Store<Self::View>] {
        &cache.secrets
    }
    fn ours(_: &Self::View) -> Ours {
        Ours::default()
    }
}

impl Cache {
    /// Waits until every watch has listed what there is.
    ///
    /// # Errors
    /// When a watch has ended.
    pub async fn ready(&self) -> Result<(), WatchEnded> {
        let Self {
            stacks,
            deployments,
            stateful_sets,
            controller_revisions,
            jobs,
            services,
            service_accounts,
            config_maps,
            disruption_budgets,
            autoscalers,
            network_policies,
            ingresses,
            secrets,
            namespaces,
        } = self;
        stacks.wait_until_ready().await.map_err(|_| WatchEnded)?;
        deployments.wait_until_ready().await?;
        stateful_sets.wait_until_ready().await?;
        controller_revisions.wait_until_ready().await?;
        jobs.wait_until_ready().await?;
        services.wait_until_ready().await?;
        service_accounts.wait_until_ready().await?;
        config_maps.wait_until_ready().await?;
        disruption_budgets.wait_until_ready().await?;
        autoscalers.wait_until_ready().await?;
        network_policies.wait_until_ready().await?;
        ingresses.wait_until_ready().await?;
        for store in secrets {
            store.wait_until_ready().await?;
        }
        if let Some(store) = namespaces {
            store.wait_until_ready().await?;
        }
        Ok(())
    }

    /// A Secret of ours.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<Arc<SecretView>> {
        let reference = ObjectRef::new(name).within(namespace);
        self.secrets.iter().find_map(|store| store.get(&reference))
    }

    /// The Stacks of a namespace.
    pub fn stacks_in(&self, namespace: &str) -> Vec<ObjectRef<GuardedStack>> {
        let within = |stack: &GuardedStack| stack.meta().namespace.as_deref() == Some(namespace);
        self.stacks.state_filter(within).iter().map(|stack| ObjectRef::from_obj(stack.as_ref())).collect()
    }

    /// The Stack that was in the namespace before this one: the eldest counts, by its name when two are of an age.
    pub fn elder(&self, stack: &Stack) -> Option<String> {
        let mine = age(&stack.metadata);
        let others = self.stacks.state_filter(|other| {
            let meta = other.meta();
            meta.namespace == stack.metadata.namespace
                && meta.uid != stack.metadata.uid
                && meta.deletion_timestamp.is_none()
                && age(meta) < mine
        });
        others.iter().map(|other| age(other.meta())).min().map(|(_, name)| name)
    }

    /// True when the namespace says that another release looks after it.
    pub fn is_foreign(&self, namespace: &str, release: &str) -> bool {
        let Some(namespaces) = &self.namespaces else { return false };
        let found = namespaces.get(&ObjectRef::new(namespace));
        found.is_some_and(|found| found.labels().get(names::OPERATOR).is_some_and(|named| named != release))
    }
}

/// What Stacks of a namespace are told apart by: the smallest is the eldest.
pub fn age(meta: &ObjectMeta) -> (Option<Timestamp>, String) {
    (meta.creation_timestamp.as_ref().map(|time| time.0), meta.name.clone().unwrap_or_default())
}
