//! Whether data is deleted with its Stack: it is exactly while it carries the Stack's owner reference, which it gets only where the
//! Stack says so twice, by policy and by annotation.

use std::fmt::Debug;

use futures::future::join_all;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Patch, PatchParams};
use kube::core::ObjectMeta;
use kube::{Api, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use weft_operator_api::{DeletionPolicy, Stack, StackStatus};

use super::apply::ApplyError;
use super::dereference::{DereferenceError, read};
use super::status::{DATA_DELETION, NOT_ALLOWED};
use crate::cache::Kind as _;
use crate::client::is_another;
use crate::context::Context;
use crate::names::{self, DATA, MONGODB, POSTGRES, RABBITMQ, STACK};

/// Field managers of their own: an apply removes what it named before and no longer names, and nothing else.
const OWNER_MANAGER: &str = "weft-operator-data";
const NOTE_MANAGER: &str = "weft-operator-note";

/// The managed stores that have data.
const STORES: [&str; 3] = [MONGODB, POSTGRES, RABBITMQ];

/// The Secrets that open data.
fn secrets() -> Vec<String> {
    let of = |store: &str| [store.to_owned(), names::next_secret(store), names::superuser_secret(store)];
    STORES.into_iter().flat_map(of).chain([names::ENCRYPTION_SECRET.to_owned()]).collect()
}

/// What a Stack wants of its data when it is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deletion {
    #[default]
    Retained,
    /// The policy is Delete, but the annotation does not allow it.
    NotAllowed,
    Deleted,
}

impl Deletion {
    /// What this Stack wants.
    pub fn of(stack: &Stack) -> Self {
        let asks = stack.spec.deletion_policy.unwrap_or_default() == DeletionPolicy::Delete;
        match (asks, stack.deletes_data()) {
            (_, true) => Self::Deleted,
            (true, false) => Self::NotAllowed,
            (false, false) => Self::Retained,
        }
    }
}

/// The data of a Stack: what the Stack wants of it, and what it carries.
#[derive(Debug, Default)]
pub struct Data {
    pub deletion: Deletion,
    /// The status says that data may carry the owner reference.
    pub(super) is_noted: bool,
    /// The API server was asked for `objects`.
    pub(super) is_listed: bool,
    /// Empty if the Stack does not want its data deleted, and none of it carried the owner reference before.
    pub objects: Vec<DataObject>,
    /// What this pass took the owner reference from.
    pub released: Vec<String>,
    /// Why some data still carries it, or lacks it.
    pub failure: Option<ApplyError>,
}

/// A volume of the Stack, or a Secret that opens one or what is on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataObject {
    pub(super) kind: DataKind,
    pub(super) name: String,
    pub(super) uid: String,
    /// It carries the Stack's owner reference.
    pub is_owned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DataKind {
    Claim,
    Secret,
}

impl DataKind {
    /// As the API names it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "PersistentVolumeClaim",
            Self::Secret => "Secret",
        }
    }
}

impl DataObject {
    /// Kind and name.
    pub fn label(&self) -> String {
        format!("{} {}", self.kind.as_str(), self.name)
    }
}

/// True when the status tells that no data carries the owner reference. It can be trusted: the status says `Pending` before the first
/// gets it.
pub(super) fn is_unowned(status: &StackStatus) -> bool {
    status.condition(DATA_DELETION).is_none_or(|told| told.reason == NOT_ALLOWED)
}

/// Takes the owner reference from data that the Stack does not want deleted. A pass begins with this, whatever else the Stack says:
/// paused, invalid or failing, its data must not be deleted without its consent. `status` is none where it can't be read.
///
/// # Errors
/// When the API server can't be asked for all data; what it told of is released all the same. A refused write is in the result instead:
/// it stops nothing else.
///
/// # Cancellation
/// Safe: the next pass asks again.
pub async fn release(
    stack: &ObjectMeta,
    status: Option<&StackStatus>,
    deletion: Deletion,
    context: &Context,
) -> Result<Data, DereferenceError> {
    let writer = Writer { context, namespace: stack.namespace.clone().unwrap_or_default() };
    let is_noted = status.is_none_or(|status| !is_unowned(status));
    if deletion != Deletion::Deleted && !is_noted && !writer.sees_owned(stack) {
        return Ok(Data { deletion, ..Data::default() });
    }
    let (objects, failure) = writer.list(stack).await;
    let mut data = Data { deletion, is_noted, is_listed: true, objects, ..Data::default() };
    if deletion != Deletion::Deleted {
        let uid = stack.uid.as_deref().unwrap_or_default();
        for object in data.objects.iter_mut().filter(|object| object.is_owned) {
            match writer.set_owner(object, None, uid).await {
                Ok(()) => {
                    object.is_owned = false;
                    data.released.push(object.label());
                }
                Err(error) => _ = data.failure.get_or_insert(error),
            }
        }
    }
    failure.map_or(Ok(data), Err)
}

impl Data {
    /// True when data is to get the owner reference.
    pub fn is_pending(&self) -> bool {
        self.deletion == Deletion::Deleted && self.objects.iter().any(|object| !object.is_owned)
    }

    /// Gives the owner reference to data that lacks it, if the status said so before, and appends what got it to `owned`. Asks the
    /// API server before each write whether this very Stack still wants that.
    ///
    /// # Errors
    /// [`ApplyError::Outdated`] when the Stack no longer wants it or is another one; others when the API server does not answer, or
    /// refuses.
    pub async fn own(
        &mut self,
        stack: &Stack,
        owned: &mut Vec<String>,
        context: &Context,
    ) -> Result<(), ApplyError> {
        let Some(owner) = stack.owner_ref(&()).filter(|_| self.is_noted && self.is_pending()) else {
            return Ok(());
        };
        let writer = Writer { context, namespace: stack.namespace().unwrap_or_default() };
        // Claims last: Secrets are watched, so that an owned claim is never overlooked.
        for object in self.objects.iter_mut().rev().filter(|object| !object.is_owned) {
            writer.confirm(&owner).await?;
            writer.set_owner(object, Some(&owner), &owner.uid).await?;
            object.is_owned = true;
            owned.push(object.label());
        }
        Ok(())
    }
}

struct Writer<'a> {
    context: &'a Context,
    namespace: String,
}

impl Writer<'_> {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.context.client.clone(), &self.namespace)
    }

    /// True when a watched Secret carries the owner reference.
    fn sees_owned(&self, stack: &ObjectMeta) -> bool {
        let uid = stack.uid.as_deref().unwrap_or_default();
        let owned = Secret::owned(&self.context.cache, &self.namespace, uid);
        let names = secrets();
        owned.iter().any(|secret| secret.name.as_ref().is_some_and(|name| names.contains(name)))
    }

    /// Asks the API server, because a cached answer may miss an owner reference.
    async fn list(&self, stack: &ObjectMeta) -> (Vec<DataObject>, Option<DereferenceError>) {
        let claims = STORES
            .map(|store| self.find::<PersistentVolumeClaim>(stack, DataKind::Claim, names::claim(store)));
        let secrets = secrets().into_iter().map(|name| self.find::<Secret>(stack, DataKind::Secret, name));
        let (claims, secrets) = tokio::join!(join_all(claims), join_all(secrets));
        let (mut found, mut failure) = (Vec::new(), None);
        for object in claims.into_iter().chain(secrets) {
            match object {
                Ok(object) => found.extend(object),
                Err(error) => _ = failure.get_or_insert(error),
            }
        }
        (found, failure)
    }

    async fn find<K>(
        &self,
        stack: &ObjectMeta,
        kind: DataKind,
        name: String,
    ) -> Result<Option<DataObject>, DereferenceError>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Clone + Debug,
    {
        let found = self.api::<K>().get_metadata_opt(&name).await.map_err(read(kind.as_str(), &name))?;
        Ok(found.and_then(|found| {
            let is_owned = is_owned_by(&found.metadata, stack.uid.as_deref().unwrap_or_default());
            // The owner reference counts also where somebody removed the labels.
            let is_ours = is_owned || is_data_of(stack, &found.metadata);
            let uid = found.metadata.uid.clone().unwrap_or_default();
            is_ours.then_some(DataObject { kind, name, uid, is_owned })
        }))
    }

    /// Policy, annotation, uid and what the status says come from one answer.
    async fn confirm(&self, owner: &OwnerReference) -> Result<(), ApplyError> {
        let found = self.api::<Stack>().get_opt(&owner.name).await;
        let found = found.map_err(|source| ApplyError::Write {
            verb: "read",
            kind: "Stack",
            name: owner.name.clone(),
            source: Box::new(source),
        })?;
        let allows = |stack: &Stack| {
            stack.metadata.uid.as_ref() == Some(&owner.uid)
                && stack.metadata.deletion_timestamp.is_none()
                && stack.deletes_data()
                && stack.status.as_ref().is_some_and(|status| !is_unowned(status))
        };
        if found.as_ref().is_some_and(allows) { Ok(()) } else { Err(ApplyError::Outdated) }
    }

    /// Applies the owner reference, or removes it.
    async fn set_owner(
        &self,
        object: &DataObject,
        owner: Option<&OwnerReference>,
        uid: &str,
    ) -> Result<(), ApplyError> {
        let owners: Vec<_> = owner.into_iter().collect();
        let meta = json!({ "name": object.name, "uid": object.uid, "ownerReferences": owners });
        let answer = self.patch(object.kind, OWNER_MANAGER, meta).await?;
        // Another manager may own the reference too, and a webhook may change what is written.
        if is_owned_by(&answer, uid) == owner.is_some() {
            return Ok(());
        }
        Err(ApplyError::NotTaken { kind: object.kind.as_str(), name: object.name.clone() })
    }

    /// Applies metadata to one object. It has the object's uid, so that an object which is gone is not created.
    async fn patch(&self, kind: DataKind, manager: &str, meta: Value) -> Result<ObjectMeta, ApplyError> {
        let name = meta["name"].as_str().unwrap_or_default().to_owned();
        let patch = Patch::Apply(json!({ "apiVersion": "v1", "kind": kind.as_str(), "metadata": meta }));
        let parameters = PatchParams::apply(manager).force();
        self.context.metrics.wrote("apply", kind.as_str());
        let done = match kind {
            DataKind::Claim => {
                let api = self.api::<PersistentVolumeClaim>();
                api.patch_metadata(&name, &parameters, &patch).await.map(|answer| answer.metadata)
            }
            DataKind::Secret => {
                let api = self.api::<Secret>();
                api.patch_metadata(&name, &parameters, &patch).await.map(|answer| answer.metadata)
            }
        };
        match done {
            // Only the next pass knows what is there now.
            Err(kube::Error::Api(status)) if is_another(&status) => Err(ApplyError::Outdated),
            done => done.map_err(|source| ApplyError::Write {
                verb: "apply",
                kind: kind.as_str(),
                name,
                source: Box::new(source),
            }),
        }
    }
}

fn is_owned_by(meta: &ObjectMeta, uid: &str) -> bool {
    meta.owner_references.iter().flatten().any(|owner| owner.uid == uid)
}

/// An annotation on data: what must be known of it when a Stack comes back without its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// On a store's volume: the Stack uses an external store instead.
    Left { claim: String },
    /// On a store's volume: it is in use again.
    Used { claim: String },
    /// On the Secret with authentication's encryption keys: authentication has a user.
    FirstUser,
}

impl Note {
    /// Writes it, if the object with this uid is still there.
    ///
    /// # Errors
    /// When the API server does not answer, or refuses.
    pub async fn write(&self, uid: &str, namespace: &str, context: &Context) -> Result<(), ApplyError> {
        let (kind, name, annotations) = match self {
            Self::Left { claim } => (DataKind::Claim, claim.as_str(), json!({ names::LEFT: "true" })),
            Self::Used { claim } => (DataKind::Claim, claim.as_str(), json!({})),
            Self::FirstUser => {
                (DataKind::Secret, names::ENCRYPTION_SECRET, json!({ names::FIRST_USER: "true" }))
            }
        };
        let meta = json!({ "name": name, "uid": uid, "annotations": annotations });
        Writer { context, namespace: namespace.to_owned() }.patch(kind, NOTE_MANAGER, meta).await.map(drop)
    }
}

/// What was made for a Stack of another name is another's.
fn is_data_of(stack: &ObjectMeta, meta: &ObjectMeta) -> bool {
    let labels = meta.labels.as_ref();
    labels.is_some_and(|labels| labels.contains_key(DATA) && labels.get(STACK) == stack.name.as_ref())
}
