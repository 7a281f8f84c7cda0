//! Watches turn into a queue of Stacks to look at; the queue into passes, a few at a time.

mod pass;
mod watch;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::UnboundedReceiver;
use futures::{FutureExt as _, StreamExt as _, stream};
use kube::Client;
use kube::runtime::applier;
use kube::runtime::controller::{Action, Config, Error};
use kube::runtime::reflector::ObjectRef;
use weft_runtime::lifecycle::Shutdown;
use weft_runtime::telemetry::chain;

use crate::cache::GuardedStack;
use crate::context::Context;
use crate::leader::Leadership;
use crate::reconcile::ReconcileError;
use pass::observed;

pub use watch::{Feeds, feeds};

/// Passes at the same time. Each waits for the API server nearly all of its time.
const CONCURRENCY: u16 = 16;
/// At the end of the process passes under way have this long: who follows is waiting. A pass may be cut anywhere.
const LAST_PASSES: Duration = Duration::from_secs(2);

/// Where a controller looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    All,
    Namespace(String),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all namespaces"),
            Self::Namespace(name) => write!(f, "namespace {name}"),
        }
    }
}

impl Scope {
    pub(crate) fn api<K>(&self, client: Client) -> kube::Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match self {
            Self::All => kube::Api::all(client),
            Self::Namespace(name) => kube::Api::namespaced(client, name),
        }
    }
}

/// Reconciles what the feeds bring until the shutdown is requested; passes under way are then finished.
pub async fn control(context: Arc<Context>, feeds: Feeds, shutdown: Shutdown) {
    control_as(context, feeds, Leadership::always(), shutdown).await;
}

/// The same, while this process leads. As soon as it leads no more, passes under way are cut.
pub async fn control_as(context: Arc<Context>, feeds: Feeds, mut leadership: Leadership, shutdown: Shutdown) {
    let Feeds { mut queue, tasks } = feeds;
    loop {
        tokio::select! {
            biased;
            () = shutdown.requested() => break,
            () = leadership.gained() => {}
            () = discard(&context, &mut queue) => {}
        }
        let ended = async {
            shutdown.requested().await;
            tokio::time::sleep(LAST_PASSES).await;
        };
        tokio::select! {
            biased;
            () = leadership.lost() => {}
            () = work(&context, &mut queue, &shutdown) => break,
            () = ended => break,
        }
        // Another acts from now on: what our applies left behind is no longer known.
        context.ledger.clear();
        context.retries.clear();
    }
    drop(tasks);
}

/// Who does not lead lets pass what happens: its cache knows it, and all Stacks are looked at when it leads. Never ends.
async fn discard(context: &Context, queue: &mut UnboundedReceiver<ObjectRef<GuardedStack>>) {
    while queue.next().await.is_some() {
        context.metrics.discarded();
    }
    std::future::pending::<()>().await;
}

async fn work(
    context: &Arc<Context>,
    queue: &mut UnboundedReceiver<ObjectRef<GuardedStack>>,
    shutdown: &Shutdown,
) {
    let stacks = context.cache.stacks.clone();
    let all: Vec<_> = stacks.state().iter().map(|stack| ObjectRef::from_obj(stack.as_ref())).collect();
    for stack in &all {
        context.metrics.queued(stack);
    }
    let queue = stream::iter(all).chain(queue).take_until(shutdown.requested().boxed());
    applier(
        |stack, context| observed(stack, context).boxed(),
        |stack, error, context| retry_later(&stack, error, &context),
        Arc::clone(context),
        stacks,
        queue.map(Ok::<_, Infallible>),
        Config::default().concurrency(CONCURRENCY),
    )
    .for_each(async |result| conclude(result, context))
    .await;
}

fn retry_later(stack: &GuardedStack, error: &ReconcileError, context: &Context) -> Action {
    let stack = ObjectRef::from_obj(stack);
    let delay = context.retries.failed(stack.clone(), rand::random());
    context.metrics.failed(error.kind());
    let namespace = stack.namespace.clone().unwrap_or_default();
    let (stack, delay_ms) = (stack.name, delay.as_millis());
    tracing::warn!(stack, namespace, delay_ms, error = chain(error), "failed to reconcile; trying again");
    Action::requeue(delay)
}

type Pass = Result<(ObjectRef<GuardedStack>, Action), Error<ReconcileError, Infallible>>;

fn conclude(pass: Pass, context: &Context) {
    match pass {
        Ok((stack, action)) => {
            let namespace = stack.namespace.unwrap_or_default();
            tracing::debug!(stack = stack.name, namespace, ?action, "reconciled");
        }
        // Said already by `retry_later`, with the delay.
        Err(Error::ReconcilerFailed(..)) => {}
        // A Stack that is gone: what it ran goes with it, and so does what we knew of it.
        Err(Error::ObjectNotFound(stack)) => {
            let namespace = stack.namespace.clone().unwrap_or_default();
            let reference = ObjectRef::new(&stack.name).within(&namespace);
            context.metrics.begun(&reference);
            context.retries.forget(&reference);
            context.ledger.forget(&(namespace, stack.name.clone()));
        }
        Err(error) => tracing::error!(error = chain(&error), "the controller's queue failed"),
    }
}
