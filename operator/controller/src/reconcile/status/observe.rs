//! Looks at what runs, and says how far it is.

use std::collections::BTreeMap;

use kube::Api;
use kube::api::ListParams;
use kube::runtime::reflector::ObjectRef;
use weft_operator_api::{ConditionStatus, ServiceStatus, Stack, StackStatus, StoreKind, StoreUse};

use super::calls;
use super::rotation::RotationState;
use super::stores::{self, StoreState};
use super::{
    Observation, Outcome, Progress, READY, STORES, StatusError, holds_up, progress, report, store_condition,
};
use crate::client::said;
use crate::context::Context;
use crate::names::{
    self, AUTHENTICATION, BROKER, FRONTEND, JAEGER, LISTENER, LOGGER, MAIL, MAILCATCHER, MONGODB, POSTGRES,
    RABBITMQ, SMTP,
};
use crate::reconcile::apply::Applied;
use crate::reconcile::data::Data;
use crate::reconcile::keep::Steps;
use crate::reconcile::validate::{
    AdminPlan, FirstUser, LifePlan, Run, SmtpPlan, StorePlan, Validated, WorkloadPlan,
};
use crate::view::{PodView, Rollout};

/// Whether a Stack is ready, or nearly.
#[derive(Clone, Copy, Debug)]
pub struct Readiness {
    pub is_ready: bool,
    /// What is left ends without an event that we would see.
    pub is_near: bool,
    /// Only the broker's connections are missing.
    pub is_connecting: bool,
    /// Authentication has created the first user, or found it.
    pub has_first_user: bool,
}

/// Looks at what runs, and writes the status that follows.
///
/// # Errors
/// When the API server does not answer, or refuses.
pub async fn observe(
    stack: &Stack,
    validated: &Validated,
    steps: &Steps,
    applied: &Applied,
    data: &Data,
    context: &Context,
) -> Result<Readiness, StatusError> {
    let Validated { namespace, version, life, .. } = validated;
    let (pending, held) = (Vec::new(), Vec::new());
    let mut look = Look { context, namespace, life, steps, pending, held, stuck: false, all_complete: true };
    let services = services(validated);
    let services = services.into_iter().filter_map(|(name, run)| Some((name, run.as_ref()?)));
    let services = services.map(|(name, run)| {
        let wanted = run.spec.autoscaling.is_none().then(|| run.spec.replicas());
        (name, wanted)
    });
    let own = validated.workloads.iter().map(|WorkloadPlan { spec, .. }| {
        (spec.name.as_str(), spec.autoscaling.is_none().then_some(spec.replicas.unwrap_or(1)))
    });
    let services = services.chain(own).map(|(name, wanted)| look.service(name, wanted, applied)).collect();
    for (name, runs) in [
        (JAEGER, validated.tracing.jaeger.is_some()),
        (MAILCATCHER, matches!(validated.smtp, Some(SmtpPlan::Catcher(_)))),
    ] {
        if runs {
            let progress = look.deployment(name, look.desired(name, 1), applied);
            look.note(name, &progress);
        }
    }
    let complete = look.managed_stores(validated, applied);
    let kept = stack
        .status
        .as_ref()
        .filter(|status| look.all_complete && applied.rotations.is_empty() && is_settled(stack, status));
    let used = stores(validated);
    let nobody_is_asked = kept.is_some() && used.iter().all(|store| store.kept(kept).is_some());
    let nobody_is_asked = nobody_is_asked || look.is_before_pods(applied);
    let pods = if nobody_is_asked { Vec::new() } else { look.pods(&validated.name).await? };
    if kept.is_none() {
        look.explain(&pods, applied);
    }
    let mut states = Vec::new();
    for store in used {
        let state = match store.kept(kept) {
            Some(state) => state,
            None if life.stopped.is_some() => stopped(),
            None if store.owner_runs => {
                ask(store.owner, store.name, &pods, !look.all_complete, context).await
            }
            None => unowned(store.owner, complete.get(store.name).copied()),
        };
        states.push((store.name, state));
    }
    let first_user = first_user(validated, &states, context);
    let has_first_user = first_user.as_ref().is_some_and(|state| state.reason == FIRST_USER_EXISTS);
    let rotation = RotationState::of(validated, &applied.rotations, &pods);
    look.pending.extend(rotation.pending().iter().cloned());
    let Look { mut pending, mut held, stuck, all_complete, .. } = look;
    // While anything else is pending, the brokers need not be asked. Once a Stack is Ready, the workloads' events tell of trouble.
    let asks = pending.is_empty() && kept.is_none() && life.stopped.is_none();
    let blocked = if asks { calls::blocked(validated, &pods, &context.ask_stores).await } else { None };
    let is_connecting = blocked.is_some();
    pending.extend(blocked);
    if life.paused {
        held.append(&mut pending);
    }
    let told = states.iter().all(|(_, state)| state.status == ConditionStatus::True);
    let broken = states.iter().any(|(name, state)| holds_up(name) && state.status == ConditionStatus::False);
    let is_ready = pending.is_empty() && !broken && applied.failure.is_none();
    let failure = applied.failure.as_ref().map(|error| said(error));
    let observation = Observation {
        version: version.clone(),
        services,
        pending,
        stuck,
        failure,
        stores: states,
        // The next pass writes the note that is missing only while the status does not know the kind.
        kinds: if applied.is_noted { kinds(validated) } else { Vec::new() },
        held,
        paused: paused(life),
        stopped: life.stopped.is_some(),
        rotation,
        first_user,
    };
    report(&stack.metadata, stack.status.as_ref(), Outcome::Observed(observation), Some(data), context)
        .await?;
    let told = told || life.stopped.is_some();
    let is_near = all_complete || life.stopped.is_some();
    Ok(Readiness { is_ready: is_ready && told, is_near, is_connecting, has_first_user })
}

/// Authentication says that PostgreSQL is usable only after it has created the first user, or found it.
const FIRST_USER_EXISTS: &str = "Exists";

fn first_user(
    stack: &Validated,
    stores: &[(&'static str, StoreState)],
    context: &Context,
) -> Option<StoreState> {
    let own = names::admin_secret(&stack.name);
    Some(match &stack.first_user {
        FirstUser::Unused => return None,
        FirstUser::Wanted(AdminPlan { secret, .. }) => {
            let is_usable =
                |(store, state): &(_, StoreState)| *store == POSTGRES && state.reason == stores::USABLE;
            let reported = context.cache.secret(&stack.namespace, names::ENCRYPTION_SECRET);
            let reported = reported.is_some_and(|secret| names::is_reported(&secret.metadata));
            if reported || stores.iter().any(is_usable) {
                StoreState::new(
                    true,
                    FIRST_USER_EXISTS,
                    format!("Secret {secret} has its address and first password"),
                )
            } else {
                StoreState::new(false, "Pending", "authentication has not created it yet")
            }
        }
        FirstUser::Gone { reported: true } => StoreState::new(
            true,
            "SecretDeleted",
            format!("the database has users; Secret {own} was deleted, and is not created again"),
        ),
        FirstUser::Gone { reported: false } => StoreState::new(
            ConditionStatus::Unknown,
            "DataExisted",
            format!(
                "the operator created none, because volume {} existed before and may have users. If you can't sign in, create Secret {own} \
                 with the keys email and password",
                names::claim(POSTGRES)
            ),
        ),
    })
}

/// What is paused, for a person.
fn paused(life: &LifePlan) -> Vec<String> {
    if life.paused { vec!["the Stack".to_owned()] } else { life.paused_parts.iter().cloned().collect() }
}

/// Who runs each store that has data.
fn kinds(stack: &Validated) -> Vec<StoreUse> {
    fn kind<I>(name: &str, store: &Option<StorePlan<I>>) -> Option<StoreUse> {
        let kind = match store.as_ref()? {
            StorePlan::Managed { .. } => StoreKind::Managed,
            StorePlan::External(_) => StoreKind::External,
        };
        Some(StoreUse { name: name.to_owned(), kind })
    }
    let Validated { mongodb, rabbitmq, postgres, .. } = stack;
    let all = [kind(MONGODB, mongodb), kind(POSTGRES, postgres), kind(RABBITMQ, rabbitmq)];
    all.into_iter().flatten().collect()
}

/// The built-in services, in the order in which a request meets them.
fn services(stack: &Validated) -> [(&'static str, &Option<Run>); 6] {
    let Validated { broker, authentication, logger, mail, listener, frontend, .. } = stack;
    [
        (BROKER, broker),
        (AUTHENTICATION, authentication),
        (LOGGER, logger),
        (MAIL, mail),
        (LISTENER, listener),
        (FRONTEND, frontend),
    ]
}

/// A store that the Stack has.
#[derive(Clone, Copy)]
struct Used {
    name: &'static str,
    /// The service that knows how it stands.
    owner: &'static str,
    owner_runs: bool,
    /// Its owner's readiness follows it, so that a change of it brings an event.
    is_followed: bool,
}

impl Used {
    /// What was said of it, if that still holds and nobody need be asked.
    fn kept(&self, said: Option<&StackStatus>) -> Option<StoreState> {
        let state = said.filter(|_| self.is_followed).and_then(|status| keep(status, self.name))?;
        (state.status == ConditionStatus::True).then_some(state)
    }
}

fn stores(stack: &Validated) -> Vec<Used> {
    let Validated { mongodb, rabbitmq, postgres, smtp, logger, listener, authentication, mail, .. } = stack;
    let used = |name, owner, has: bool, runs: &Option<Run>| {
        has.then_some(Used { name, owner, owner_runs: runs.is_some(), is_followed: true })
    };
    // Mail is ready without its server, so it has to be asked again and again. A catcher has probes of its own.
    let relay = matches!(smtp, Some(SmtpPlan::External { .. }));
    let smtp = used(SMTP, MAIL, smtp.is_some(), mail).map(|used| Used { is_followed: !relay, ..used });
    [
        used(MONGODB, LOGGER, mongodb.is_some(), logger),
        used(RABBITMQ, LISTENER, rabbitmq.is_some(), listener),
        used(POSTGRES, AUTHENTICATION, postgres.is_some(), authentication),
        smtp,
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn is_managed<I>(store: &Option<StorePlan<I>>) -> bool {
    matches!(store, Some(StorePlan::Managed { .. }))
}

/// True when the status says that this very spec is ready and all its stores are: then pods need not be asked.
fn is_settled(stack: &Stack, status: &StackStatus) -> bool {
    let holds = |type_: &str| status.condition(type_).is_none_or(|one| one.status == ConditionStatus::True);
    let stores = STORES.iter().filter(|(store, _)| holds_up(store)).map(|(_, condition)| *condition);
    status.observed_generation == stack.metadata.generation
        && status.condition(READY).is_some()
        && stores.chain([READY]).all(holds)
}

/// What was said of a store stays said while nothing has changed.
fn keep(status: &StackStatus, store: &str) -> Option<StoreState> {
    let before = status.condition(store_condition(store))?;
    let reason = if before.reason == "Running" { "Running" } else { stores::USABLE };
    Some(StoreState::new(before.status, reason, before.message.clone()))
}

async fn ask(owner: &str, store: &str, pods: &[PodView], rolling: bool, context: &Context) -> StoreState {
    let of_owner: Vec<_> = pods.iter().filter(|pod| pod.app() == Some(owner)).collect();
    stores::ask(owner, store, &of_owner, rolling, &context.ask_stores).await
}

/// Nobody is to run, so nobody is asked.
fn stopped() -> StoreState {
    StoreState::new(ConditionStatus::Unknown, "Stopped", "the Stack is stopped, and nobody looks")
}

/// Nobody is there to ask: of a store that we run, its own probes say something.
fn unowned(owner: &str, complete: Option<bool>) -> StoreState {
    match complete {
        Some(true) => {
            StoreState::new(true, "Running", format!("it runs; {owner}, which would use it, is switched off"))
        }
        Some(false) => StoreState::new(ConditionStatus::Unknown, "Starting", "it is not ready yet"),
        None => StoreState::new(
            true,
            "Running",
            format!("not looked at: {owner}, which would use it, is switched off"),
        ),
    }
}

struct Look<'a> {
    context: &'a Context,
    namespace: &'a str,
    life: &'a LifePlan,
    steps: &'a Steps,
    /// What and why.
    pending: Vec<String>,
    /// The same of what is paused.
    held: Vec<String>,
    stuck: bool,
    all_complete: bool,
}

impl Look<'_> {
    /// How many pods are wanted is the autoscaler's to say where the Stack does not.
    fn service(&mut self, name: &str, wanted: Option<i32>, applied: &Applied) -> ServiceStatus {
        let scaled = || {
            let view = self.context.cache.deployments.get(&ObjectRef::new(name).within(self.namespace));
            view.and_then(|view| view.replicas.wanted).unwrap_or(1)
        };
        let desired = self.desired(name, wanted.unwrap_or_else(scaled));
        let progress = self.deployment(name, desired, applied);
        self.note(name, &progress);
        ServiceStatus { name: name.to_owned(), desired, updated: progress.updated, ready: progress.ready }
    }

    /// How many there shall be now.
    fn desired(&self, name: &str, replicas: i32) -> i32 {
        if self.life.is_stopped(name) { 0 } else { replicas }
    }

    fn deployment(&self, name: &str, desired: i32, applied: &Applied) -> Progress {
        let view = self.context.cache.deployments.get(&ObjectRef::new(name).within(self.namespace));
        let generation = applied.deployments.get(name).copied().flatten();
        progress(view.as_deref().map(|view| (&view.metadata, &view.status)), generation, desired)
    }

    fn stateful_set(&self, name: &str, applied: &Applied) -> Progress {
        let view = self.context.cache.stateful_sets.get(&ObjectRef::new(name).within(self.namespace));
        let generation = applied.stateful_sets.get(name).copied().flatten();
        progress(
            view.as_deref().map(|view| (&view.metadata, &view.status)),
            generation,
            self.desired(name, 1),
        )
    }

    /// Which of the stores that we run are complete.
    fn managed_stores(&mut self, stack: &Validated, applied: &Applied) -> BTreeMap<&'static str, bool> {
        let managed = [
            (MONGODB, is_managed(&stack.mongodb)),
            (RABBITMQ, is_managed(&stack.rabbitmq)),
            (POSTGRES, is_managed(&stack.postgres)),
        ];
        let mut complete = BTreeMap::new();
        for (name, _) in managed.into_iter().filter(|(_, managed)| *managed) {
            let store = self.stateful_set(name, applied);
            self.note(name, &store);
            complete.insert(name, store.complete);
        }
        complete
    }

    fn note(&mut self, name: &str, progress: &Progress) {
        self.all_complete &= progress.complete;
        self.stuck |= progress.stuck;
        if self.steps.behind.contains(name) {
            self.held.push(format!("{name}: paused, and its pods are not as the spec says"));
        } else if self.life.is_paused(name) {
            self.held
                .extend(progress.message.as_ref().map(|message| format!("{name}: paused, with {message}")));
        } else {
            self.pending.extend(progress.message.as_ref().map(|message| format!("{name}: {message}")));
            if self.life.stopped.is_some() && !self.life.is_stopped(name) {
                self.pending.push(format!("{name}: stops when those who call it have stopped"));
            }
        }
    }

    /// True when no controller has made a pod yet, so that there is none to explain anything, or to ask.
    fn is_before_pods(&self, applied: &Applied) -> bool {
        if self.all_complete || !applied.rotations.is_empty() {
            return false;
        }
        let cache = &self.context.cache;
        let none = |status: &Rollout| status.replicas == 0 && status.terminating_replicas == 0;
        let no_deployment = applied.deployments.keys().all(|name| {
            let view = cache.deployments.get(&ObjectRef::new(name).within(self.namespace));
            view.is_none_or(|view| none(&view.status))
        });
        no_deployment
            && applied.stateful_sets.keys().all(|name| {
                let view = cache.stateful_sets.get(&ObjectRef::new(name).within(self.namespace));
                view.is_none_or(|view| none(&view.status))
            })
    }

    async fn pods(&self, stack: &str) -> Result<Vec<PodView>, StatusError> {
        let api = Api::<PodView>::namespaced(self.context.client.clone(), self.namespace);
        let parameters = ListParams::default().labels(&names::pods(stack));
        let pods = api.list(&parameters).await.map_err(|error| StatusError::Pods(Box::new(error)))?;
        Ok(pods.items)
    }

    /// Adds what the pods themselves say, and waits for those that are still ending, or whose workload is gone: they may
    /// still serve.
    fn explain(&mut self, pods: &[PodView], applied: &Applied) {
        // A Job's are no workload's, and speak for themselves.
        for pod in pods.iter().filter(|pod| !pod.has_ended() && !pod.is_of_job()) {
            let name = pod.app().unwrap_or_default();
            let trouble = pod.trouble();
            let wanted = applied.deployments.contains_key(name) || applied.stateful_sets.contains_key(name);
            match self.pending.iter_mut().find(|pending| pending.starts_with(&format!("{name}: "))) {
                Some(pending) => {
                    if let Some(trouble) = trouble.filter(|trouble| !pending.contains(trouble.as_str())) {
                        pending.push_str(&format!(" ({trouble})"));
                    }
                }
                None if pod.metadata.deletion_timestamp.is_some() || !wanted => {
                    self.pending.push(format!("{name}: a former pod is still ending"));
                }
                None => {}
            }
        }
    }
}
