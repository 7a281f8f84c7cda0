//! One pass over one Stack: `data::release -> dereference -> validate -> build -> keep -> apply -> status`.

pub mod apply;
pub mod build;
pub mod data;
pub mod dereference;
pub mod keep;
pub mod status;
pub mod tell;
pub mod validate;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Resource as _;
use kube::core::ObjectMeta;
use kube::runtime::controller::Action;
use kube::runtime::reflector::ObjectRef;
use tokio::time::Instant;
use weft_operator_api::{Admin, ConditionStatus, Mail, Smtp, Stack, StackSpec, StackStatus, Store, Stores};

use crate::cache::{GuardedStack, Kind as _};
use crate::client::said;
use crate::context::Context;
use crate::names;
use apply::{ApplyError, Changes};
use data::{Data, Deletion, Note};
use dereference::DereferenceError;
use keep::KeepError;
use status::{Outcome, READY, StatusError};
use validate::{Refusal, Validated};

/// Even without an event, each Stack is looked at this often.
const AGAIN: Duration = Duration::from_secs(600);
/// While a Stack is not ready, pods and stores are asked this often, and less often the longer that lasts: what changes brings an
/// event, and what doesn't has time.
const WHILE_NOT_READY: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(60);
/// Secrets and ConfigMaps that a Stack names are not watched, since the operator may watch none but its own.
const OF_OTHERS: Duration = Duration::from_secs(30);
const MISSING_SECRET: Duration = Duration::from_secs(5);
const OUTDATED: Duration = Duration::from_secs(1);
/// While only the broker's connections are missing, which bring no event; less often the longer that lasts.
const CONNECTING: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    #[error(transparent)]
    Dereference(#[from] DereferenceError),
    #[error(transparent)]
    Keep(#[from] KeepError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Status(#[from] StatusError),
}

impl ReconcileError {
    /// For the metric of errors by kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Dereference(_) => "dereference",
            Self::Keep(_) => "keep",
            Self::Apply(error) => error.label(),
            Self::Status(_) => "status",
        }
    }
}

/// Brings the cluster nearer to what the Stack says, and says in its status how far it is.
///
/// # Errors
/// When the API server does not answer, or refuses what we want; the Stack is then tried again later.
///
/// # Cancellation
/// Safe at any point: every write is one of its own, and the next pass goes on from what is there.
pub async fn reconcile(stack: Arc<GuardedStack>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let namespace = stack.meta().namespace.clone().unwrap_or_default();
    let foreign = context.cache.is_foreign(&namespace, &context.installation.release);
    if foreign {
        return Ok(Action::await_change());
    }
    let started = Instant::now();
    let done = match pass(&stack, &context).await {
        // The event of what it has become is on its way.
        Err(ReconcileError::Status(StatusError::Changed) | ReconcileError::Apply(ApplyError::Outdated)) => {
            Ok(Action::requeue(OUTDATED))
        }
        done => done,
    };
    let result = if done.is_ok() { "ok" } else { "error" };
    context.metrics.reconciled(result, started.elapsed());
    if done.is_ok() {
        context.retries.forget(&ObjectRef::from_obj(stack.as_ref()));
    }
    done
}

async fn pass(guarded: &GuardedStack, context: &Context) -> Result<Action, ReconcileError> {
    let empty = StackStatus::default();
    let (meta, previous, deletion) = match &guarded.0 {
        Ok(stack) => (&stack.metadata, Some(stack.status.as_ref().unwrap_or(&empty)), Deletion::of(stack)),
        Err(invalid) => (&invalid.metadata, None, Deletion::Retained),
    };
    let mut data = match data::release(meta, previous, deletion, context).await {
        Ok(data) => data,
        Err(error) => return fail(meta, previous, error.into(), None, context).await,
    };
    // While a finalizer keeps the Stack, its data can still be saved.
    if meta.deletion_timestamp.is_some() {
        return data.failure.map_or(Ok(Action::await_change()), |failure| Err(failure.into()));
    }
    let released = Changes { released: std::mem::take(&mut data.released), ..Changes::default() };
    tell::tell(meta, tell::of_changes(&released, &[]), context).await;
    let stack = match &guarded.0 {
        Ok(stack) => stack,
        Err(invalid) => {
            let refusal = Refusal::Unreadable { error: invalid.error.clone() };
            return refuse(meta, previous, refusal, data, context).await;
        }
    };
    let found = match dereference::dereference(stack, context).await {
        Ok(found) => found,
        Err(error) => return fail(meta, previous, error.into(), Some(&data), context).await,
    };
    let validated = match validate::validate(stack, found, &context.installation) {
        Ok(validated) => validated,
        Err(refusal) => return refuse(meta, previous, refusal, data, context).await,
    };
    let mut plan = build::build(&validated);
    let steps = match keep::keep(&mut plan, &validated, context).await {
        Ok(steps) => steps,
        Err(error) => return fail(meta, previous, error.into(), Some(&data), context).await,
    };
    let mut applied = apply::apply(&validated, plan, &steps, context).await;
    if matches!(applied.failure, Some(ApplyError::Outdated)) {
        // Nothing can be said of the Stack, since it is no longer the one that was read.
        return Err(ApplyError::Outdated.into());
    }
    if !validated.life.paused
        && let Err(error) = data.own(stack, &mut applied.changes.owned, context).await
    {
        data.failure.get_or_insert(error);
    }
    let rolled: &[String] = if applied.failure.is_none() { &steps.rolled } else { &[] };
    tell::tell(meta, tell::of_changes(&applied.changes, rolled), context).await;
    let ready = status::observe(stack, &validated, &steps, &applied, &data, context).await?;
    if ready.has_first_user && !validated.life.paused {
        note_first_user(&validated, context).await?;
    }
    match applied.failure.or(data.failure.take()) {
        Some(failure) => Err(failure.into()),
        // The status says now that data is to get the owner reference: the next pass gives it.
        None if data.is_pending() && !validated.life.paused => Ok(Action::requeue(OUTDATED)),
        None if !ready.is_ready => {
            let elapsed = || not_ready_for(stack, context.clock.now());
            Ok(Action::requeue(if ready.is_connecting {
                (elapsed() / 10).clamp(*CONNECTING.start(), *CONNECTING.end())
            } else if ready.is_near {
                MISSING_SECRET
            } else {
                while_not_ready(elapsed())
            }))
        }
        None if names_others(stack) => Ok(Action::requeue(OF_OTHERS)),
        None => Ok(Action::requeue(AGAIN)),
    }
}

/// Notes that authentication has a user, where it is found even when the Stack comes back without its status.
async fn note_first_user(stack: &Validated, context: &Context) -> Result<(), ApplyError> {
    let Some((seen, _)) = Secret::seen(&context.cache, &stack.namespace, names::ENCRYPTION_SECRET) else {
        return Ok(());
    };
    let is_noted = names::is_reported(&seen);
    match seen.uid {
        Some(uid) if !is_noted => Note::FirstUser.write(&uid, &stack.namespace, context).await,
        _ => Ok(()),
    }
}

/// How long a Stack has said that it is not ready.
fn not_ready_for(stack: &Stack, now: Timestamp) -> Duration {
    let condition = stack.status.as_ref().and_then(|status| status.condition(READY));
    let since = condition.filter(|ready| ready.status != ConditionStatus::True);
    let since = since.and_then(|ready| ready.last_transition_time.parse::<Timestamp>().ok());
    since.map_or(Duration::ZERO, |since| now.duration_since(since).try_into().unwrap_or_default())
}

fn while_not_ready(elapsed: Duration) -> Duration {
    (elapsed / 2).clamp(*WHILE_NOT_READY.start(), *WHILE_NOT_READY.end())
}

/// What can't be read can't be decided on: the status says so, and it is tried again.
async fn fail(
    meta: &ObjectMeta,
    previous: Option<&StackStatus>,
    error: ReconcileError,
    data: Option<&Data>,
    context: &Context,
) -> Result<Action, ReconcileError> {
    let message = said(&error);
    let outcome = Outcome::Failed { reason: "ReadFailed", message };
    status::report(meta, previous, outcome, data, context).await?;
    Err(error)
}

async fn refuse(
    meta: &ObjectMeta,
    previous: Option<&StackStatus>,
    refusal: Refusal,
    mut data: Data,
    context: &Context,
) -> Result<Action, ReconcileError> {
    let looked_for = refusal.is_waiting()
        || matches!(
            refusal,
            Refusal::CredentialsLost { .. } | Refusal::Superuser { .. } | Refusal::DataLeftBehind { .. }
        );
    let again = if looked_for { MISSING_SECRET } else { AGAIN };
    status::report(meta, previous, Outcome::Refused(refusal), Some(&data), context).await?;
    match data.failure.take() {
        Some(failure) => Err(failure.into()),
        None => Ok(Action::requeue(again)),
    }
}

/// True when it uses something whose changes bring no event: what others made, or a mail server that only mail can ask.
fn names_others(stack: &Stack) -> bool {
    let StackSpec { stores: Stores { mongodb, rabbitmq, postgres, smtp }, mail, admin, workloads, .. } =
        &stack.spec;
    let external = |store: &Option<Store>| store.as_ref().is_some_and(|store| store.external.is_some());
    let relay = smtp.as_ref().is_some_and(|Smtp { external, .. }| external.is_some());
    let templates = mail.as_ref().is_some_and(|Mail { templates, .. }| templates.is_some());
    let named = admin.as_ref().is_some_and(|Admin { secret_ref, .. }| secret_ref.is_some());
    let environment = workloads.iter().any(|workload| !workload.env_from.is_empty());
    [mongodb, rabbitmq, postgres].into_iter().any(external) || relay || templates || named || environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_looked_at_less_often() {
        let seconds = Duration::from_secs;
        for (elapsed, delay) in [(0, 10), (20, 10), (60, 30), (120, 60), (86_400, 60)] {
            assert_eq!(while_not_ready(seconds(elapsed)), seconds(delay), "after {elapsed} s");
        }
        let status = |status: &str| {
            serde_json::json!({ "conditions": [{
                "type": "Ready", "status": status, "reason": "Because", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
            }]})
        };
        let mut stack =
            Stack::new("shop", serde_json::from_value(serde_json::json!({ "version": "1" })).unwrap());
        let now = "2026-01-01T00:01:00Z".parse().unwrap();
        assert_eq!(not_ready_for(&stack, now), Duration::ZERO, "nothing was said yet");
        stack.status = serde_json::from_value(status("False")).unwrap();
        assert_eq!(not_ready_for(&stack, now), seconds(60));
        stack.status = serde_json::from_value(status("True")).unwrap();
        assert_eq!(not_ready_for(&stack, now), Duration::ZERO);
    }
}
