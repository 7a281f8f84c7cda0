//! One watch for each kind: it keeps the cache, and names the Stacks that an event concerns.

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service, ServiceAccount};
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{Lookup, ObjectRef, Store, store};
use kube::runtime::watcher::{self, Config, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt as _};
use tokio::task::JoinSet;
use weft_runtime::telemetry::chain;

use super::Scope;
use crate::cache::{Cache, GuardedStack, SECRETS};
use crate::metrics::OperatorMetrics;
use crate::names::{KEEPS, MANAGED_BY, MANAGER, OPERATOR, STACK};

/// The queue of Stacks to look at, and the tasks that fill it.
pub struct Feeds {
    pub(super) queue: UnboundedReceiver<ObjectRef<GuardedStack>>,
    /// Ended when dropped.
    pub(super) tasks: JoinSet<()>,
}

/// Starts every watch.
pub fn feeds(client: &Client, scope: &Scope, metrics: &OperatorMetrics) -> (Cache, Feeds) {
    let (sender, queue) = unbounded();
    let (stacks, writer) = store::<GuardedStack>();
    metrics.watch_stacks(stacks.clone());
    let mut start = Start { stacks: stacks.clone(), sender, metrics: metrics.clone(), tasks: JoinSet::new() };
    let ours = || Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
    let api = || client.clone();
    start.keep(watch(scope.api(api()), Config::default()), writer, siblings);
    let (deployments, writer) = store();
    start.keep(watch(scope.api(api()), ours()), writer, owner);
    let (stateful_sets, writer) = store();
    start.keep(watch(scope.api(api()), ours()), writer, owner);
    let (controller_revisions, writer) = store();
    let keeping = Config::default().labels(KEEPS);
    start.keep(watch(scope.api::<PartialObjectMeta<ControllerRevision>>(api()), keeping), writer, owner);
    let (services, writer) = store();
    start.keep(watch(scope.api::<PartialObjectMeta<Service>>(api()), ours()), writer, owner);
    let (service_accounts, writer) = store();
    start.keep(watch(scope.api::<PartialObjectMeta<ServiceAccount>>(api()), ours()), writer, owner);
    let (config_maps, writer) = store();
    start.keep(watch(scope.api::<PartialObjectMeta<ConfigMap>>(api()), ours()), writer, owner);
    let secrets = SECRETS.map(|name| {
        let (secrets, writer) = store();
        start.keep(watch(scope.api(api()), ours().fields(&format!("metadata.name={name}"))), writer, owner);
        secrets
    });
    let namespaces = (*scope == Scope::All).then(|| {
        let (namespaces, writer) = store();
        let named = Config::default().labels(OPERATOR);
        start.keep(watch(Api::<PartialObjectMeta<Namespace>>::all(api()), named), writer, residents);
        namespaces
    });
    let secrets = secrets.to_vec();
    let cache = Cache {
        stacks,
        deployments,
        stateful_sets,
        controller_revisions,
        services,
        service_accounts,
        config_maps,
        secrets,
        namespaces,
    };
    (cache, Feeds { queue, tasks: start.tasks })
}

/// Which Stacks an object concerns.
type Concerns<K> = fn(&K, &Store<GuardedStack>) -> Vec<ObjectRef<GuardedStack>>;

struct Start {
    stacks: Store<GuardedStack>,
    sender: UnboundedSender<ObjectRef<GuardedStack>>,
    metrics: OperatorMetrics,
    tasks: JoinSet<()>,
}

impl Start {
    fn keep<K>(
        &mut self,
        events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
        writer: Writer<K>,
        concerns: Concerns<K>,
    ) where
        K: Resource<DynamicType = ()> + Lookup<DynamicType = ()> + Clone + Send + Sync + 'static,
    {
        let (stacks, sender, metrics) = (self.stacks.clone(), self.sender.clone(), self.metrics.clone());
        let kind = <K as Resource>::kind(&()).into_owned();
        let events =
            events.modify(|object| object.managed_fields_mut().clear()).default_backoff().reflect(writer);
        self.tasks.spawn(async move {
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                let concerned = match event {
                    Ok(Event::Apply(object) | Event::Delete(object) | Event::InitApply(object)) => {
                        concerns(&object, &stacks)
                    }
                    // What was deleted while nobody watched brings no event of its own.
                    Ok(Event::InitDone) => references(&stacks.state()),
                    Ok(Event::Init) => Vec::new(),
                    Err(error) => {
                        metrics.failed("watch");
                        tracing::warn!(kind, error = chain(&error), "a watch failed; trying again");
                        Vec::new()
                    }
                };
                for stack in concerned {
                    metrics.queued(&stack);
                    // Fails only when the queue's reader has ended, and then nobody is left to care.
                    let _ = sender.unbounded_send(stack);
                }
            }
        });
    }
}

fn references(stacks: &[std::sync::Arc<GuardedStack>]) -> Vec<ObjectRef<GuardedStack>> {
    stacks.iter().map(|stack| ObjectRef::from_obj(stack.as_ref())).collect()
}

/// The Stack that an object of ours says it belongs to.
fn owner<K: Resource>(object: &K, _: &Store<GuardedStack>) -> Vec<ObjectRef<GuardedStack>> {
    let namespace = object.meta().namespace.clone().unwrap_or_default();
    object.labels().get(STACK).map(|stack| ObjectRef::new(stack).within(&namespace)).into_iter().collect()
}

/// A Stack and the others of its namespace: when the elder goes, the younger may begin.
fn siblings(stack: &GuardedStack, stacks: &Store<GuardedStack>) -> Vec<ObjectRef<GuardedStack>> {
    let (namespace, uid) = (&stack.meta().namespace, &stack.meta().uid);
    let mut concerned = vec![ObjectRef::from_obj(stack)];
    let is_sibling = |other: &GuardedStack| other.meta().namespace == *namespace && other.meta().uid != *uid;
    concerned.extend(references(&stacks.state_filter(is_sibling)));
    concerned
}

/// The Stacks of a namespace that changes hands.
fn residents<K: Resource>(namespace: &K, stacks: &Store<GuardedStack>) -> Vec<ObjectRef<GuardedStack>> {
    references(&stacks.state_filter(|stack| stack.meta().namespace == namespace.meta().name))
}
