//! What is looked up for a Stack's life: pods that still run while it stops, data that it may own, data that a switch of a
//! store would leave behind.

use std::collections::BTreeSet;
use std::fmt::Debug;

use futures::future::try_join_all;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use kube::api::ListParams;
use kube::core::ObjectMeta;
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use weft_operator_api::{Stack, Store, StoreKind};

use super::{Asked, DereferenceError, Lookup, read};
use crate::names::{self, DATA, MONGODB, POSTGRES, RABBITMQ, STACK};
use crate::view::PodView;

/// What was found for a Stack's life.
#[derive(Clone, Debug, Default)]
pub struct FoundLife {
    /// Data that would be left behind unseen.
    pub left: Option<Left>,
    /// What still has pods, looked up only while the Stack is to be stopped.
    pub running: BTreeSet<String>,
    /// The data of the Stack, looked up unless it is known that it owns none and shall own none.
    pub data: Vec<DataObject>,
}

/// The data that a switch of a store would leave behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub store: &'static str,
    /// Where it is.
    pub kind: StoreKind,
}

/// A volume of the Stack, or a Secret that opens one or what is on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataObject {
    pub kind: DataKind,
    pub name: String,
    pub uid: String,
    /// It goes with the Stack.
    pub is_owned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataKind {
    Claim,
    Secret,
}

impl DataKind {
    /// As the API names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "PersistentVolumeClaim",
            Self::Secret => "Secret",
        }
    }
}

/// The managed stores that have data.
const STORES: [&str; 3] = [MONGODB, POSTGRES, RABBITMQ];

impl Lookup<'_> {
    pub(super) async fn life(
        &self,
        stack: &Stack,
        stores: [Asked<'_>; 3],
    ) -> Result<FoundLife, DereferenceError> {
        let mut left = None;
        for store in stores.into_iter().filter(|store| store.spec.is_some() || store.needed) {
            if left.is_none() {
                left = self.left(stack, store).await?;
            }
        }
        let running = if stack.is_stopped() { self.running(stack).await? } else { BTreeSet::new() };
        let key = (self.namespace.clone(), stack.name_any());
        let nothing = !stack.deletes_data() && self.context.ledger.is_without_data(&key);
        let data = if nothing { Vec::new() } else { self.data(stack).await? };
        Ok(FoundLife { left, running, data })
    }

    /// A managed store's data is on its volume, whoever made it; that of an external one is known by having been used.
    async fn left(&self, stack: &Stack, asked: Asked<'_>) -> Result<Option<Left>, DereferenceError> {
        let Asked { name, spec, .. } = asked;
        let before = stack.status.as_ref().and_then(|status| status.store_kind(name));
        let left = |kind| Some(Left { store: name, kind });
        let known = |leave: Option<bool>| leave.unwrap_or(false);
        match spec {
            Some(Store { external: Some(external), managed: None }) => {
                let asked = before != Some(StoreKind::External) && !known(external.leave_data);
                let there = asked && self.has_volume(&names::claim(name)).await?;
                Ok(left(StoreKind::Managed).filter(|_| there))
            }
            Some(Store { external: None, managed: Some(managed) }) if known(managed.leave_data) => Ok(None),
            Some(Store { external: None, managed: Some(_) }) | None => {
                Ok(left(StoreKind::External).filter(|_| before == Some(StoreKind::External)))
            }
            Some(_) => Ok(None),
        }
    }

    async fn running(&self, stack: &Stack) -> Result<BTreeSet<String>, DereferenceError> {
        let api = Api::<PodView>::namespaced(self.context.client.clone(), &self.namespace);
        let parameters = ListParams::default().labels(&format!("{STACK}={}", stack.name_any()));
        let pods = api.list(&parameters).await.map_err(read("Pods of", &stack.name_any()))?;
        let left = pods.items.iter().filter(|pod| !pod.has_ended());
        Ok(left.filter_map(|pod| pod.app().map(str::to_owned)).collect())
    }

    /// Only the API server's own word counts: an owner reference that is overlooked would take the data along.
    async fn data(&self, stack: &Stack) -> Result<Vec<DataObject>, DereferenceError> {
        let claims = STORES
            .map(|store| self.datum::<PersistentVolumeClaim>(stack, DataKind::Claim, names::claim(store)));
        let secrets = STORES
            .into_iter()
            .flat_map(|store| [store.to_owned(), names::next_secret(store), names::superuser_secret(store)])
            .chain([names::ENCRYPTION_SECRET.to_owned()]);
        let secrets = secrets.map(|name| self.datum::<Secret>(stack, DataKind::Secret, name));
        let (claims, secrets) = tokio::try_join!(try_join_all(claims), try_join_all(secrets))?;
        Ok(claims.into_iter().chain(secrets).flatten().collect())
    }

    async fn datum<K>(
        &self,
        stack: &Stack,
        kind: DataKind,
        name: String,
    ) -> Result<Option<DataObject>, DereferenceError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    {
        let api = Api::<K>::namespaced(self.context.client.clone(), &self.namespace);
        let found = api.get_metadata_opt(&name).await.map_err(read(kind.as_str(), &name))?;
        Ok(found.filter(|found| is_data_of(stack, &found.metadata)).map(|found| {
            let owned = |owner: &_| is_owner(stack, owner);
            let is_owned = found.owner_references().iter().any(owned);
            DataObject { kind, name, uid: found.uid().unwrap_or_default(), is_owned }
        }))
    }
}

fn is_owner(stack: &Stack, owner: &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference) -> bool {
    stack.metadata.uid.as_ref() == Some(&owner.uid)
}

/// What was made for a Stack of another name is another's.
fn is_data_of(stack: &Stack, meta: &ObjectMeta) -> bool {
    let labels = meta.labels.as_ref();
    labels
        .is_some_and(|labels| labels.contains_key(DATA) && labels.get(STACK) == stack.metadata.name.as_ref())
}
