//! What is said of a Stack. `observe` looks at what runs; `compute` is pure; `report` writes only what differs.

mod calls;
mod observe;
mod rollout;
mod rotation;
mod stores;

use kube::Api;
use kube::Resource;
use kube::api::{Patch, PatchParams};
use kube::core::ObjectMeta;
use serde::Deserialize;
use serde_json::{Value, json};
use weft_operator_api::{Condition, ConditionStatus, ServiceStatus, Stack, StackStatus, StoreUse};

use super::data::{Data, DataObject, Deletion, is_unowned};
use super::tell;
use super::validate::Refusal;
use crate::client::said;
use crate::context::Context;
use crate::names::{MANAGER, MONGODB, POSTGRES, RABBITMQ, SMTP};

pub use observe::observe;
pub use rollout::{Progress, progress};
pub use rotation::RotationState;
pub use stores::{NOT_AUTHENTICATED, StoreState};

/// How a pass ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The Stack can't be built as it stands.
    Refused(Refusal),
    /// The API server did not do what we asked.
    Failed { reason: &'static str, message: String },
    /// Everything is applied, and this is how far it is.
    Observed(Observation),
}

/// How far a Stack is.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    pub version: String,
    pub services: Vec<ServiceStatus>,
    /// What is not yet as it should be, for a person.
    pub pending: Vec<String>,
    /// Something that waiting will not mend.
    pub stuck: bool,
    pub failure: Option<String>,
    /// Each store that the Stack has, by name.
    pub stores: Vec<(&'static str, StoreState)>,
    /// Who runs each store that has data.
    pub kinds: Vec<StoreUse>,
    /// What is not as it should be and stays so, since it is paused.
    pub held: Vec<String>,
    /// What is paused.
    pub paused: Vec<String>,
    /// Everything is to be at zero.
    pub stopped: bool,
    pub rotation: RotationState,
    /// How the first user stands, if the Stack has one.
    pub first_user: Option<StoreState>,
}

#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error("failed to write the status")]
    Write(#[source] Box<kube::Error>),
    #[error("failed to read the Stack")]
    Read(#[source] Box<kube::Error>),
    #[error("the Stack was changed while its status was written")]
    Changed,
    #[error("failed to list the Stack's pods")]
    Pods(#[source] Box<kube::Error>),
}

/// Writes the status that follows from the outcome and the Stack's data, if it is not there already.
///
/// # Errors
/// When the API server does not answer, or refuses.
pub async fn report(
    meta: &ObjectMeta,
    previous: Option<&StackStatus>,
    outcome: Outcome,
    data: Option<&Data>,
    context: &Context,
) -> Result<(), StatusError> {
    let namespace = meta.namespace.clone().unwrap_or_default();
    let api = Api::<Present>::namespaced(context.client.clone(), &namespace);
    let mut present = None;
    let read;
    let previous = match previous {
        Some(previous) => previous,
        None => {
            present = present_of(&api, meta).await?;
            let Some(found) = &present else { return Ok(()) };
            read = found.status();
            &read
        }
    };
    let now = context.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let status = compute(meta.generation, previous, outcome, data, &now);
    if *previous == status {
        return Ok(());
    }
    let name = meta.name.clone().unwrap_or_default();
    if let Some(Condition { status, reason, message, .. }) = status.condition(READY) {
        let ready = *status == ConditionStatus::True;
        tracing::info!(
            stack = name,
            namespace,
            ready,
            reason,
            detail = message,
            "the Stack's status changes"
        );
    }
    let present = match present {
        Some(present) => present,
        None => match present_of(&api, meta).await? {
            Some(present) => present,
            None => return Ok(()),
        },
    };
    // An old status must not remove what a newer one says of data that nobody looked at.
    let is_guess = data.is_none_or(|data| !data.is_listed) && is_unowned(&status);
    if is_guess && !is_unowned(&present.status()) {
        return Err(StatusError::Changed);
    }
    context.metrics.wrote("apply", "Stack/status");
    let patch = Patch::Apply(json!({
        "apiVersion": "weft.dev/v1alpha1",
        "kind": "Stack",
        "metadata": { "name": name, "resourceVersion": present.metadata.resource_version },
        "status": status,
    }));
    match api.patch_status(&name, &PatchParams::apply(MANAGER).force(), &patch).await {
        Ok(_) => {
            tell::tell(meta, tell::of_status(previous, &status), context).await;
            Ok(())
        }
        // Deleted meanwhile: nobody is left to tell.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Err(StatusError::Changed),
        Err(source) => Err(StatusError::Write(Box::new(source))),
    }
}

/// A Stack's metadata and status, also of one whose spec can't be read.
#[derive(Resource, Deserialize, Clone, Debug)]
#[resource(inherit = Stack)]
struct Present {
    metadata: ObjectMeta,
    #[serde(default)]
    status: Value,
}

impl Present {
    /// Empty if it can't be read.
    fn status(&self) -> StackStatus {
        StackStatus::deserialize(&self.status).unwrap_or_default()
    }
}

/// Asks for this very Stack: the API server compares no uid where a status is applied, and another Stack may have this name now. By
/// name, because a list waits for the API server's watch cache.
async fn present_of(api: &Api<Present>, meta: &ObjectMeta) -> Result<Option<Present>, StatusError> {
    let found = api.get_opt(meta.name.as_deref().unwrap_or_default()).await;
    let found = found.map_err(|source| StatusError::Read(Box::new(source)))?;
    Ok(found.filter(|found| found.metadata.uid == meta.uid))
}

pub(super) const READY: &str = "Ready";
const RECONCILING: &str = "Reconciling";
pub(super) const STALLED: &str = "Stalled";
pub(super) const ROTATED: &str = "CredentialsRotated";
pub(super) const ROTATION_FAILING: &str = "RotationFailing";

/// Every store, with its condition.
const STORES: [(&str, &str); 4] = [
    (MONGODB, "MongoDBReady"),
    (RABBITMQ, "RabbitMQReady"),
    (POSTGRES, "PostgreSQLReady"),
    (SMTP, "SMTPReady"),
];

/// The condition of a store.
pub fn store_condition(store: &str) -> &'static str {
    STORES.iter().find(|(name, _)| *name == store).map_or("StoreReady", |(_, condition)| condition)
}

/// One condition, before it is known when it began.
struct Claim {
    type_: &'static str,
    status: ConditionStatus,
    reason: &'static str,
    message: String,
}

fn claim(
    type_: &'static str,
    status: impl Into<ConditionStatus>,
    reason: &'static str,
    message: &str,
) -> Claim {
    Claim { type_, status: status.into(), reason, message: message.to_owned() }
}

/// The status that follows from an outcome. Times of what has not changed are kept, and so are whole conditions that the outcome
/// says nothing of.
pub fn compute(
    generation: Option<i64>,
    previous: &StackStatus,
    outcome: Outcome,
    data: Option<&Data>,
    now: &str,
) -> StackStatus {
    let kinds = match &outcome {
        Outcome::Observed(observation) => observation.kinds.clone(),
        Outcome::Refused(_) | Outcome::Failed { .. } => Vec::new(),
    };
    let says_all = matches!(outcome, Outcome::Observed(_));
    let (mut claims, services, version) = match outcome {
        Outcome::Refused(refusal) => (refused(&refusal), None, None),
        Outcome::Failed { reason, message } => (waiting(reason, &message), None, None),
        Outcome::Observed(observation) => observed(observation),
    };
    claims.extend(data.and_then(deletion));
    let mut conditions: Vec<_> =
        claims.into_iter().map(|claim| dated(claim, generation, previous, now)).collect();
    let is_said = |type_: &str| conditions.iter().any(|condition| condition.type_ == type_);
    // `Paused` follows from the spec alone, and a refusal may be over.
    let passes = |condition: &Condition| {
        condition.type_ == PAUSED || Refusal::REASONS_OF_STORES.contains(&condition.reason.as_str())
    };
    let unsaid = |condition: &&Condition| {
        let says_all = if condition.type_ == DATA_DELETION { data.is_some() } else { says_all };
        !says_all && !is_said(&condition.type_) && !passes(condition)
    };
    let unsaid: Vec<_> = previous.conditions.iter().filter(unsaid).cloned().collect();
    conditions.extend(unsaid);
    let services = services.unwrap_or_else(|| previous.services.clone());
    StackStatus {
        observed_generation: generation,
        version: version.or_else(|| previous.version.clone()),
        summary: (!services.is_empty()).then(|| summary(&services)),
        conditions,
        services,
        stores: used(previous, kinds),
    }
}

/// A store that is not used now stays known as it was: its data may be there still.
fn used(previous: &StackStatus, mut kinds: Vec<StoreUse>) -> Vec<StoreUse> {
    let known: Vec<_> = kinds.iter().map(|used| used.name.clone()).collect();
    kinds.extend(previous.stores.iter().filter(|before| !known.contains(&before.name)).cloned());
    kinds.sort_by(|one, other| one.name.cmp(&other.name));
    kinds
}

fn refused(refusal: &Refusal) -> Vec<Claim> {
    let (reason, message) = (refusal.reason(), refusal.to_string());
    let mut claims = if refusal.is_waiting() {
        waiting(reason, &message)
    } else {
        vec![
            claim(READY, false, reason, &message),
            claim(RECONCILING, false, reason, "nothing is done until the spec changes"),
            claim(STALLED, true, reason, &message),
        ]
    };
    if let Some(store) = refusal.store() {
        claims.push(claim(store_condition(store), false, reason, &message));
    }
    claims
}

fn waiting(reason: &'static str, message: &str) -> Vec<Claim> {
    vec![
        claim(READY, false, reason, message),
        claim(RECONCILING, true, reason, message),
        claim(STALLED, false, "Working", "the operator is at work"),
    ]
}

/// An SMTP server that is away holds nothing up: mail waits in the outbox and in RabbitMQ until it is back, and nothing else
/// needs it. Its condition says so all the same.
fn holds_up(store: &str) -> bool {
    store != SMTP
}

type Told = (Vec<Claim>, Option<Vec<ServiceStatus>>, Option<String>);

fn observed(observation: Observation) -> Told {
    let mut claims = progress_of(&observation);
    let ready = claims.iter().any(|claim| claim.type_ == READY && claim.status == ConditionStatus::True);
    let Observation { version, services, stores, paused, rotation, first_user, .. } = observation;
    for (store, StoreState { status, reason, message }) in &stores {
        claims.push(claim(store_condition(store), *status, reason, message));
    }
    if !paused.is_empty() {
        let message = format!("nothing is written of {} until `paused` is withdrawn", paused.join(", "));
        claims.push(claim(PAUSED, true, PAUSED, &message));
    }
    claims.extend(rotation.claim());
    if let Some(StoreState { status, reason, message }) = first_user {
        claims.push(claim("FirstUser", status, reason, &message));
    }
    (claims, Some(services), ready.then_some(version))
}

/// Whether data is deleted with the Stack: what it carries, whatever the Stack wants.
fn deletion(data: &Data) -> Option<Claim> {
    let labels = |is_owned: bool| {
        let objects = data.objects.iter().filter(|object| object.is_owned == is_owned);
        objects.map(DataObject::label).collect::<Vec<_>>().join(", ")
    };
    let (owned, others) = (labels(true), labels(false));
    let error = data.failure.as_ref().map(|error| format!("; {}", said(error))).unwrap_or_default();
    let (status, reason, message) = match (data.deletion, owned.is_empty()) {
        (Deletion::Deleted, false) if others.is_empty() => {
            (true, "Allowed", "volumes and their Secrets are deleted with the Stack".to_owned())
        }
        (Deletion::Deleted, false) => {
            (true, "Partial", format!("deleted with the Stack: {owned}; not yet: {others}{error}"))
        }
        (Deletion::Deleted, true) => {
            (false, "Pending", format!("no data is deleted with the Stack yet{error}"))
        }
        (Deletion::Retained | Deletion::NotAllowed, false) => {
            (true, "ReleaseFailed", format!("still deleted with the Stack: {owned}{error}"))
        }
        (Deletion::NotAllowed, true) => (false, NOT_ALLOWED, ANNOTATION_MISSING.to_owned()),
        (Deletion::Retained, true) => return None,
    };
    Some(claim(DATA_DELETION, status, reason, &message))
}

const PAUSED: &str = "Paused";
pub(super) const DATA_DELETION: &str = "DataDeletion";
pub(super) const NOT_ALLOWED: &str = "NotAllowed";
const ANNOTATION_MISSING: &str = "spec.deletionPolicy is Delete, but the annotation weft.dev/allow-data-deletion is not \"true\": \
                           data stays when the Stack is deleted";

/// Ready, Reconciling and Stalled.
fn progress_of(observation: &Observation) -> Vec<Claim> {
    let Observation { pending, stuck, failure, stores, held, stopped, .. } = observation;
    let away =
        stores.iter().filter(|(store, state)| holds_up(store) && state.status == ConditionStatus::False);
    let pending: Vec<_> = pending
        .iter()
        .cloned()
        .chain(away.map(|(store, state)| format!("{store}: {}", state.message)))
        .collect();
    let (ready, message) = if *stopped {
        ("Stopped", "everything is at zero, as the spec says; data stays")
    } else {
        ("Ready", "everything runs as the spec says")
    };
    let all: Vec<_> = pending.iter().chain(held).cloned().collect();
    match failure {
        Some(failure) => waiting("ApplyFailed", failure),
        None if all.is_empty() => vec![
            claim(READY, true, ready, message),
            claim(RECONCILING, false, ready, "nothing is left to do"),
            claim(STALLED, false, ready, "nothing stands in the way"),
        ],
        None if pending.is_empty() => vec![
            claim(READY, false, "Paused", &held.join("; ")),
            claim(RECONCILING, false, "Paused", "nothing is done until `paused` is withdrawn"),
            claim(STALLED, false, "Paused", "nothing stands in the way but `paused`"),
        ],
        None if *stuck => vec![
            claim(READY, false, "RolloutStuck", &all.join("; ")),
            claim(RECONCILING, false, "RolloutStuck", "no pod has become ready for too long"),
            claim(STALLED, true, "RolloutStuck", &all.join("; ")),
        ],
        None => waiting(if *stopped { "Stopping" } else { "Progressing" }, &all.join("; ")),
    }
}

fn summary(services: &[ServiceStatus]) -> String {
    let one = |service: &ServiceStatus| format!("{} {}/{}", service.name, service.ready, service.desired);
    services.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn dated(claim: Claim, generation: Option<i64>, previous: &StackStatus, now: &str) -> Condition {
    let Claim { type_, status, reason, message } = claim;
    let since = previous.condition(type_).filter(|before| before.status == status);
    Condition {
        type_: type_.to_owned(),
        status,
        reason: reason.to_owned(),
        message: shortened(message, LONGEST_MESSAGE),
        last_transition_time: since
            .map_or_else(|| now.to_owned(), |before| before.last_transition_time.clone()),
        observed_generation: generation,
    }
}

/// In bytes, without the ellipsis.
const LONGEST_MESSAGE: usize = 1024;

/// A message of any length may come from outside. It is cut after a sentence or clause where there is one in its second half, else
/// after a word.
pub(super) fn shortened(mut message: String, longest: usize) -> String {
    if message.len() <= longest {
        return message;
    }
    let end = (0..=longest).rev().find(|index| message.is_char_boundary(*index)).unwrap_or_default();
    let head = &message[..end];
    let after =
        |marks: &[&str]| marks.iter().filter_map(|mark| head.rfind(mark)).max().filter(|at| *at >= end / 2);
    let cut = after(&[". ", "; ", "\n"]).or_else(|| after(&[" "])).unwrap_or(end);
    message.truncate(cut);
    message.push_str(" …");
    message
}

#[cfg(test)]
mod tests;
