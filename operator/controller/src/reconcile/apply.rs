//! From a plan to the cluster: what is missing or differs is applied, what is no longer wanted is deleted.

mod rotation;
mod scale;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{ControllerRevision, Deployment, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::ObjectMeta;
use kube::{Api, ResourceExt as _};
use tokio::sync::OnceCell;
use weft_operator_api::Stack;

use super::build::Plan;
use super::dereference::NoteOn;
use super::keep::Steps;
use super::validate::Validated;
use crate::cache::{Kind, age};
use crate::context::Context;
use crate::ledger::{Effect, Sent, StackKey};
use crate::names::{self, DATA, MANAGER, MONGODB, POSTGRES, RABBITMQ, STACK};
use crate::view::Ours;

pub use rotation::Underway;

/// What was applied.
#[derive(Debug, Default)]
pub struct Applied {
    /// The generation that each Deployment now has; none when it could not be applied.
    pub deployments: BTreeMap<String, Option<i64>>,
    /// The same of StatefulSets.
    pub stateful_sets: BTreeMap<String, Option<i64>>,
    /// The managed stores whose credentials change, and how far each is.
    pub rotations: Vec<Underway>,
    /// The volumes say which stores are in use.
    pub is_noted: bool,
    /// The first of what went wrong.
    pub failure: Option<ApplyError>,
    pub changes: Changes,
}

/// What was written and made a difference, as kind and name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub created: Vec<String>,
    pub changed: Vec<String>,
    pub healed: Vec<String>,
    pub pruned: Vec<String>,
    /// Data that now goes with the Stack.
    pub owned: Vec<String>,
    /// Data that no longer does.
    pub released: Vec<String>,
    /// Stores with a new user and password.
    pub rotated: Vec<String>,
    /// Stores that their former user no longer opens.
    pub retired: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("failed to {verb} {kind} {name}")]
    Write { verb: &'static str, kind: &'static str, name: String, source: Box<kube::Error> },
    #[error(
        "{kind} {name} is there already and does not belong to this Stack: rename or delete it, or label it \
         {STACK}={stack} to hand it over"
    )]
    NotOurs { kind: &'static str, name: String, stack: String },
    #[error("the Stack or its data was changed or created again since it was read")]
    Outdated,
    #[error(
        "{kind} {name} does not have the owner references that were applied: another field manager or a webhook set them"
    )]
    NotTaken { kind: &'static str, name: String },
    #[error("failed to write {kind} {name} as JSON")]
    Encode { kind: &'static str, name: String, source: serde_json::Error },
}

impl ApplyError {
    /// For the metric of errors by kind.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Write { .. } => "write",
            Self::NotOurs { .. } => "not_ours",
            Self::Outdated => "outdated",
            Self::NotTaken { .. } => "not_taken",
            Self::Encode { .. } => "encode",
        }
    }

    fn write<K: Kind>(verb: &'static str, name: &str, source: kube::Error) -> Self {
        Self::Write { verb, kind: K::KIND, name: name.to_owned(), source: Box::new(source) }
    }
}

/// Applies the plan. One object's failure stops no other, except that nothing runs before the Secrets that it needs.
pub async fn apply(stack: &Validated, plan: Plan, steps: &Steps, context: &Context) -> Applied {
    let Plan {
        data_secrets,
        derived_secrets,
        service_accounts,
        config_maps,
        jobs,
        rotations,
        services,
        deployments,
        stateful_sets,
        controller_revisions,
        bases: _,
        disruption_budgets,
        autoscalers,
        network_policies,
        ingresses,
    } = plan;
    let key = (stack.namespace.clone(), stack.name.clone());
    let is_current = OnceCell::new();
    let mut pass = Pass { stack, context, key, is_current, failure: None, changes: Changes::default() };
    for secret in data_secrets.iter().filter(|_| !stack.life.paused) {
        if let Err(error) = pass.create_once(secret).await {
            return Applied { failure: Some(error), ..Applied::default() };
        }
    }
    let is_noted = pass.note_stores().await;
    pass.begin(&rotations).await;
    pass.settle_all::<ControllerRevision>(&controller_revisions).await;
    // Nothing rolls before it is kept what it rolls to.
    if pass.failure.is_some() {
        let Pass { failure, changes, .. } = pass;
        return Applied { is_noted, failure, changes, ..Applied::default() };
    }
    pass.settle_all::<Secret>(&derived_secrets).await;
    pass.settle_all::<ServiceAccount>(&service_accounts).await;
    pass.settle_all::<ConfigMap>(&config_maps).await;
    pass.settle_all::<Service>(&services).await;
    // Before what they let through: nothing that runs is ever open to more than it should be.
    pass.settle_all::<NetworkPolicy>(&network_policies).await;
    pass.settle_all::<PodDisruptionBudget>(&disruption_budgets).await;
    let stateful_sets = pass.settle_all::<StatefulSet>(&stateful_sets).await;
    // What is not handed over would fall back to one pod.
    if let Err(failure) = pass.hand_over_scales(&deployments).await {
        let Pass { changes, .. } = pass;
        return Applied { is_noted, failure: Some(failure), changes, ..Applied::default() };
    }
    let deployments = pass.settle_all::<Deployment>(&deployments).await;
    pass.settle_all::<HorizontalPodAutoscaler>(&autoscalers).await;
    pass.settle_all::<Ingress>(&ingresses).await;
    let rotations = pass.rotate(rotations, jobs, (&deployments, steps)).await;
    let Pass { failure, mut changes, .. } = pass;
    // An Event has little room: what runs is told first.
    for list in [&mut changes.created, &mut changes.changed] {
        list.sort_by_key(|one| one.starts_with(NetworkPolicy::KIND));
    }
    Applied { deployments, stateful_sets, rotations, is_noted, failure, changes }
}

struct Pass<'a> {
    stack: &'a Validated,
    context: &'a Context,
    key: StackKey,
    is_current: OnceCell<bool>,
    failure: Option<ApplyError>,
    changes: Changes,
}

impl Pass<'_> {
    fn api<K: Kind>(&self) -> Api<K> {
        Api::namespaced(self.context.client.clone(), &self.stack.namespace)
    }

    /// A list may be old, and what it says of Stacks with it: nothing is written, and above all nothing deleted, by the word of a
    /// spec that is no longer the one, or beside an elder Stack.
    async fn confirm(&self) -> Result<(), ApplyError> {
        let ask = async || {
            let api = Api::<Stack>::namespaced(self.context.client.clone(), &self.stack.namespace);
            let found = api.list_metadata(&ListParams::default()).await;
            let found = found.map_err(|source| ApplyError::Write {
                verb: "read",
                kind: "Stack",
                name: self.stack.name.clone(),
                source: Box::new(source),
            })?;
            let stacks = found.items.into_iter().map(|stack| stack.metadata);
            Ok(is_current(&self.stack.owner.uid, self.stack.generation, stacks))
        };
        if *self.is_current.get_or_try_init(ask).await? { Ok(()) } else { Err(ApplyError::Outdated) }
    }

    /// A password is made once: what is there is never written over.
    async fn create_once(&mut self, secret: &Secret) -> Result<(), ApplyError> {
        self.confirm().await?;
        let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        self.context.metrics.wrote("create", "Secret");
        let created = self.api::<Secret>().create(&parameters, secret).await;
        created.map_err(|source| ApplyError::write::<Secret>("create", &secret.name_any(), source))?;
        self.changes.created.push(format!("Secret {}", secret.name_any()));
        Ok(())
    }

    /// Applies what is wanted of a kind and prunes the rest. Gives the generation of each.
    async fn settle_all<K: Kind>(&mut self, wanted: &[K]) -> BTreeMap<String, Option<i64>> {
        let mut generations = BTreeMap::new();
        for object in wanted {
            if self.stack.life.is_paused(&object.name_any()) {
                let seen = K::seen(&self.context.cache, &self.stack.namespace, &object.name_any());
                generations
                    .insert(object.name_any(), seen.map(|(seen, _)| seen.generation.unwrap_or_default()));
                continue;
            }
            let generation = match self.settle(object).await {
                Ok(meta) => Some(meta.generation.unwrap_or_default()),
                Err(error) => self.note(error),
            };
            generations.insert(object.name_any(), generation);
        }
        for unwanted in K::owned(&self.context.cache, &self.stack.namespace, &self.stack.owner.uid) {
            if let Err(error) = self.prune::<K>(&unwanted, &generations).await {
                self.note::<()>(error);
            }
        }
        generations
    }

    /// Notes on volumes whether their stores are in use. False if a note is still to be written.
    async fn note_stores(&mut self) -> bool {
        let stack = self.stack;
        if stack.life.paused {
            return stack.life.notes.is_empty();
        }
        let mut is_done = true;
        for NoteOn { uid, note } in &stack.life.notes {
            let done = match self.confirm().await {
                Ok(()) => note.write(uid, &stack.namespace, self.context).await,
                Err(error) => Err(error),
            };
            if let Err(error) = done {
                is_done = false;
                self.note::<()>(error);
            }
        }
        is_done
    }

    fn note<T>(&mut self, error: ApplyError) -> Option<T> {
        self.failure.get_or_insert(error);
        None
    }

    /// Makes one object as it is wanted, and gives its metadata.
    async fn settle<K: Kind>(&mut self, object: &K) -> Result<ObjectMeta, ApplyError> {
        let name = object.name_any();
        let encode = |source| ApplyError::Encode { kind: K::KIND, name: name.clone(), source };
        let sent = Sent::of(&serde_json::to_vec(object).map_err(encode)?);
        let id = (K::KIND, name.clone());
        let seen = K::seen(&self.context.cache, &self.stack.namespace, &name);
        match &seen {
            Some((seen, ours)) => {
                let wanted = || serde_json::to_value(object).map(Ours::of_wanted);
                if self.context.ledger.is_settled(&self.key, &id, sent, object.meta(), seen) {
                    return Ok(seen.clone());
                }
                if ours.is(&wanted().map_err(encode)?) {
                    self.context.ledger.note(&self.key, &id, sent, seen);
                    return Ok(seen.clone());
                }
                self.refuse_foreign::<K>(seen)?;
            }
            None => self.refuse_unseen_foreign::<K>(&name).await?,
        }
        self.confirm().await?;
        self.context.metrics.wrote("apply", K::KIND);
        // What others changed of ours is put back: hence force.
        let parameters = PatchParams::apply(MANAGER).force();
        let answer = self.api::<K>().patch_metadata(&name, &parameters, &Patch::Apply(object)).await;
        let answer = answer.map_err(|source| ApplyError::write::<K>("apply", &name, source))?.metadata;
        let about = (seen.as_ref().map(|(seen, _)| seen), &answer);
        match self.context.ledger.effect(&self.key, &id, sent, object.meta(), about) {
            Effect::None => {}
            Effect::Created => self.changes.created.push(format!("{} {name}", K::KIND)),
            Effect::Changed => self.changes.changed.push(format!("{} {name}", K::KIND)),
            Effect::Healed => self.changes.healed.push(format!("{} {name}", K::KIND)),
        }
        self.context.ledger.note(&self.key, &id, sent, &answer);
        Ok(answer)
    }

    /// Only objects with our label are watched; one without it may stand in our way all the same.
    async fn refuse_unseen_foreign<K: Kind>(&self, name: &str) -> Result<(), ApplyError> {
        let found = self.api::<K>().get_metadata_opt(name).await;
        match found.map_err(|source| ApplyError::write::<K>("read", name, source))? {
            Some(found) => self.refuse_foreign::<K>(&found.metadata),
            None => Ok(()),
        }
    }

    fn refuse_foreign<K: Kind>(&self, seen: &ObjectMeta) -> Result<(), ApplyError> {
        let stack = &self.stack.name;
        let labelled = seen.labels.as_ref().and_then(|labels| labels.get(STACK)) == Some(stack);
        let owned = seen.owner_references.iter().flatten().any(|owner| owner.uid == self.stack.owner.uid);
        if labelled || owned {
            return Ok(());
        }
        let name = seen.name.clone().unwrap_or_default();
        Err(ApplyError::NotOurs { kind: K::KIND, name, stack: stack.clone() })
    }

    /// Deletes what is no longer wanted, if it is still as it was seen; never data.
    async fn prune<K: Kind>(
        &mut self,
        seen: &ObjectMeta,
        wanted: &BTreeMap<String, Option<i64>>,
    ) -> Result<(), ApplyError> {
        let name = seen.name.clone().unwrap_or_default();
        let labelled = seen.labels.as_ref().is_some_and(|labels| labels.contains_key(DATA));
        let opens = |store: &str| name == store || name == names::superuser_secret(store);
        // It may be the Stack's own, and someone may have taken its label.
        let is_secret_of_data = K::KIND == "Secret"
            && (name == names::ENCRYPTION_SECRET || [MONGODB, POSTGRES, RABBITMQ].into_iter().any(opens));
        let data = labelled || is_secret_of_data;
        let paused = self.stack.life.is_paused(&name);
        if wanted.contains_key(&name) || data || paused || seen.deletion_timestamp.is_some() {
            return Ok(());
        }
        if self.delete::<K>(seen).await? {
            self.changes.pruned.push(format!("{} {name}", K::KIND));
        }
        Ok(())
    }

    /// Deletes this very object; false when it is gone already, or was changed since it was seen: the event of that brings the
    /// next pass.
    async fn delete<K: Kind>(&mut self, seen: &ObjectMeta) -> Result<bool, ApplyError> {
        self.confirm().await?;
        let name = seen.name.clone().unwrap_or_default();
        let preconditions =
            Preconditions { uid: seen.uid.clone(), resource_version: seen.resource_version.clone() };
        self.context.metrics.wrote("delete", K::KIND);
        let (namespace, stack) = (&self.stack.namespace, &self.stack.name);
        tracing::info!(stack, namespace, kind = K::KIND, name, "deleting what the Stack no longer asks for");
        let parameters = DeleteParams::background().preconditions(preconditions);
        match self.api::<K>().delete(&name, &parameters).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(false),
            Err(source) => Err(ApplyError::write::<K>("delete", &name, source)),
        }
    }
}

/// True when the Stack with this uid is still of this generation, and none in its namespace is older.
fn is_current(uid: &str, generation: Option<i64>, stacks: impl Iterator<Item = ObjectMeta>) -> bool {
    let stays: Vec<_> = stacks.filter(|stack| stack.deletion_timestamp.is_none()).collect();
    let eldest = stays.iter().min_by_key(|stack| age(stack));
    eldest.is_some_and(|eldest| eldest.uid.as_deref() == Some(uid) && eldest.generation == generation)
}
