//! What is known of the cluster: one small view of each object of ours, kept by watches.

use std::fmt::Debug;
use std::slice;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service, ServiceAccount};
use kube::core::{DeserializeGuard, ObjectMeta, PartialObjectMeta};
use kube::runtime::reflector::store::WriterDropped;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use weft_operator_api::Stack;

use crate::names;
use crate::view::{ContentDigest, DeploymentView, SecretView, StatefulSetView};

/// A Stack, or, when it can't be read, its metadata and why: one that can't be read must not end the watch of all.
pub type GuardedStack = DeserializeGuard<Stack>;

/// The Secrets of stores that the operator gives to Stacks. It may watch no others. (`<stack>-admin`, whose name it can't
/// know before, is read in each pass.)
pub const SECRETS: [&str; 6] =
    ["mongodb", "mongodb-external", "postgres", "postgres-external", "rabbitmq", "rabbitmq-external"];

/// One store for each kind.
#[derive(Clone)]
pub struct Cache {
    pub stacks: Store<GuardedStack>,
    pub deployments: Store<DeploymentView>,
    pub stateful_sets: Store<StatefulSetView>,
    /// Those that keep pod templates.
    pub controller_revisions: Store<PartialObjectMeta<ControllerRevision>>,
    pub services: Store<PartialObjectMeta<Service>>,
    pub service_accounts: Store<PartialObjectMeta<ServiceAccount>>,
    pub config_maps: Store<PartialObjectMeta<ConfigMap>>,
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
    type View: Resource<DynamicType = ()> + Clone + 'static;
    const KIND: &'static str;

    fn stores(cache: &Cache) -> &[Store<Self::View>];

    /// What was last seen of one.
    fn seen(cache: &Cache, namespace: &str, name: &str) -> Option<ObjectMeta> {
        let reference = ObjectRef::new(name).within(namespace);
        Self::stores(cache).iter().find_map(|store| store.get(&reference)).map(|view| view.meta().clone())
    }

    /// All that the owner with this uid has.
    fn owned(cache: &Cache, namespace: &str, owner: &str) -> Vec<ObjectMeta> {
        let is_owned = |view: &Self::View| {
            view.meta().namespace.as_deref() == Some(namespace)
                && view.owner_references().iter().any(|reference| reference.uid == owner)
        };
        let of = |store: &Store<Self::View>| store.state_filter(is_owned);
        Self::stores(cache).iter().flat_map(of).map(|view| view.meta().clone()).collect()
    }
}

impl Kind for Deployment {
    type View = DeploymentView;
    const KIND: &'static str = "Deployment";
    fn stores(cache: &Cache) -> &[Store<Self::View>] {
        slice::from_ref(&cache.deployments)
    }
}

impl Kind for StatefulSet {
    type View = StatefulSetView;
    const KIND: &'static str = "StatefulSet";
    fn stores(cache: &Cache) -> &[Store<Self::View>] {
        slice::from_ref(&cache.stateful_sets)
    }
}

impl Kind for ControllerRevision {
    type View = PartialObjectMeta<ControllerRevision>;
    const KIND: &'static str = "ControllerRevision";
    fn stores(cache: &Cache) -> &[Store<Self::View>] {
        slice::from_ref(&cache.controller_revisions)
    }
}

impl Kind for Service {
    type View = PartialObjectMeta<Service>;
    const KIND: &'static str = "Service";
    fn stores(cache: &Cache) -> &[Store<Self::View>] {
        slice::from_ref(&cache.services)
    }
}

impl Kind for ServiceAccount {
    type View = PartialObjectMeta<ServiceAccount>;
    const KIND: &'static str = "ServiceAccount";
    fn stores(cache: &Cache) -> &[Store<Self::View>] {
        slice::from_ref(&cache.service_accounts)
    }
}

impl Kind for ConfigMap {
    type View = PartialObjectMeta<ConfigMap>;
    const KIND: &'static str = "ConfigMap";
    fn stores(cache: &Cache) -> &[Store<Self::View>] {
        slice::from_ref(&cache.config_maps)
    }
}

impl Kind for Secret {
    type View = SecretView;
    const KIND: &'static str = "Secret";
    fn stores(cache: &Cache) -> &[Store<Self::View>] {
        &cache.secrets
    }
}

impl Cache {
    /// Waits until every watch has listed what there is.
    ///
    /// # Errors
    /// When a watch has ended.
    pub async fn ready(&self) -> Result<(), WriterDropped> {
        let Self {
            stacks,
            deployments,
            stateful_sets,
            controller_revisions,
            services,
            service_accounts,
            config_maps,
            secrets,
            namespaces,
        } = self;
        stacks.wait_until_ready().await?;
        deployments.wait_until_ready().await?;
        stateful_sets.wait_until_ready().await?;
        controller_revisions.wait_until_ready().await?;
        services.wait_until_ready().await?;
        service_accounts.wait_until_ready().await?;
        config_maps.wait_until_ready().await?;
        for store in secrets {
            store.wait_until_ready().await?;
        }
        if let Some(store) = namespaces {
            store.wait_until_ready().await?;
        }
        Ok(())
    }

    /// What a Secret of ours holds.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<ContentDigest> {
        let reference = ObjectRef::new(name).within(namespace);
        self.secrets.iter().find_map(|store| store.get(&reference)).map(|view| view.data.clone())
    }

    /// The Stacks of a namespace.
    pub fn stacks_in(&self, namespace: &str) -> Vec<ObjectRef<GuardedStack>> {
        let within = |stack: &GuardedStack| stack.meta().namespace.as_deref() == Some(namespace);
        self.stacks.state_filter(within).iter().map(|stack| ObjectRef::from_obj(stack.as_ref())).collect()
    }

    /// The Stack that was in the namespace before this one: the eldest counts, by its name when two are of an age.
    pub fn elder(&self, stack: &Stack) -> Option<String> {
        let age = |meta: &ObjectMeta| {
            (meta.creation_timestamp.as_ref().map(|time| time.0), meta.name.clone().unwrap_or_default())
        };
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
