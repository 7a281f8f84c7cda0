//! What is said of a Stack. `observe` looks at what runs; `compute` is pure; `report` writes only what differs.

mod observe;
mod rollout;
mod stores;

use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::{ObjectMeta, PartialObjectMeta};
use serde_json::json;
use weft_operator_api::{Condition, ConditionStatus, ServiceStatus, Stack, StackStatus};

use super::validate::Refusal;
use crate::context::Context;
use crate::names::{MANAGER, MONGODB, POSTGRES, RABBITMQ, SMTP};

pub use observe::observe;
pub use rollout::{Progress, progress};
pub use stores::StoreState;

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
}

#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error("failed to write the status")]
    Write(#[source] Box<kube::Error>),
    #[error("failed to list the Stack's pods")]
    Pods(#[source] Box<kube::Error>),
}

/// Writes the status that follows from the outcome, if it is not there already.
///
/// # Errors
/// When the API server does not answer, or refuses.
pub async fn report(
    meta: &ObjectMeta,
    previous: Option<&StackStatus>,
    outcome: Outcome,
    context: &Context,
) -> Result<(), StatusError> {
    let now = context.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let empty = StackStatus::default();
    let status = compute(meta.generation, previous.unwrap_or(&empty), outcome, &now);
    if previous == Some(&status) {
        return Ok(());
    }
    let (name, namespace) =
        (meta.name.clone().unwrap_or_default(), meta.namespace.clone().unwrap_or_default());
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
    let api = Api::<PartialObjectMeta<Stack>>::namespaced(context.client.clone(), &namespace);
    context.metrics.wrote("apply", "Stack/status");
    let patch = Patch::Apply(json!({
        "apiVersion": "weft.dev/v1alpha1",
        "kind": "Stack",
        // A Stack of the same name that was made since is another one.
        "metadata": { "name": name, "uid": meta.uid },
        "status": status,
    }));
    match api.patch_status(&name, &PatchParams::apply(MANAGER).force(), &patch).await {
        Ok(_) => Ok(()),
        // Deleted meanwhile: nobody is left to tell.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(source) => Err(StatusError::Write(Box::new(source))),
    }
}

const READY: &str = "Ready";
const RECONCILING: &str = "Reconciling";
const STALLED: &str = "Stalled";

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

/// The status that follows from an outcome. Times of what has not changed are kept.
pub fn compute(generation: Option<i64>, previous: &StackStatus, outcome: Outcome, now: &str) -> StackStatus {
    let (claims, services, version) = match outcome {
        Outcome::Refused(refusal) => (refused(&refusal), None, None),
        Outcome::Failed { reason, message } => (waiting(reason, &message), None, None),
        Outcome::Observed(observation) => observed(observation),
    };
    let services = services.unwrap_or_else(|| previous.services.clone());
    StackStatus {
        observed_generation: generation,
        version: version.or_else(|| previous.version.clone()),
        summary: (!services.is_empty()).then(|| summary(&services)),
        conditions: claims.into_iter().map(|claim| dated(claim, generation, previous, now)).collect(),
        services,
    }
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
    let Observation { version, services, mut pending, stuck, failure, stores } = observation;
    for (store, state) in &stores {
        if holds_up(store) && state.status == ConditionStatus::False {
            pending.push(format!("{store}: {}", state.message));
        }
    }
    let ready = failure.is_none() && pending.is_empty();
    let mut claims = if let Some(failure) = &failure {
        waiting("ApplyFailed", failure)
    } else if ready {
        vec![
            claim(READY, true, "Ready", "everything runs as the spec says"),
            claim(RECONCILING, false, "Ready", "nothing is left to do"),
            claim(STALLED, false, "Ready", "nothing stands in the way"),
        ]
    } else if stuck {
        let message = pending.join("; ");
        vec![
            claim(READY, false, "RolloutStuck", &message),
            claim(RECONCILING, false, "RolloutStuck", "no pod has become ready for too long"),
            claim(STALLED, true, "RolloutStuck", &message),
        ]
    } else {
        waiting("Progressing", &pending.join("; "))
    };
    for (store, StoreState { status, reason, message }) in &stores {
        claims.push(claim(store_condition(store), *status, reason, message));
    }
    (claims, Some(services), ready.then_some(version))
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
        message: shortened(message),
        last_transition_time: since
            .map_or_else(|| now.to_owned(), |before| before.last_transition_time.clone()),
        observed_generation: generation,
    }
}

/// A message of any length may come from outside.
fn shortened(mut message: String) -> String {
    const LONGEST: usize = 1024;
    if message.len() > LONGEST {
        let cut = (0..=LONGEST).rev().find(|index| message.is_char_boundary(*index)).unwrap_or_default();
        message.truncate(cut);
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests;
