//! Watches turn into a queue of Stacks to look at; the queue into passes, a few at a time.

mod watch;

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _};
use kube::Client;
use kube::runtime::applier;
use kube::runtime::controller::{Action, Config, Error};
use kube::runtime::reflector::ObjectRef;
use weft_runtime::lifecycle::Shutdown;
use weft_runtime::telemetry::chain;

use crate::cache::GuardedStack;
use crate::context::Context;
use crate::reconcile::{ReconcileError, reconcile};

pub use watch::{Feeds, feeds};

/// Passes at the same time.
const CONCURRENCY: u16 = 4;

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
    let Feeds { queue, tasks } = feeds;
    let queue = queue.take_until(shutdown.requested().boxed()).map(Ok::<_, Infallible>);
    let (stacks, at_hand) = (context.cache.stacks.clone(), Arc::clone(&context));
    let config = Config::default().concurrency(CONCURRENCY);
    applier(
        |stack, context| reconcile(stack, context).boxed(),
        |stack, error, context| retry_later(&stack, error, &context),
        context,
        stacks,
        queue,
        config,
    )
    .for_each(async |result| conclude(result, &at_hand))
    .await;
    drop(tasks);
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
            context.retries.forget(&ObjectRef::new(&stack.name).within(&namespace));
            context.ledger.forget(&(namespace, stack.name.clone()));
        }
        Err(error) => tracing::error!(error = chain(&error), "the controller's queue failed"),
    }
}
