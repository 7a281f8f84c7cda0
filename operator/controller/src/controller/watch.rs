//! One watch for each kind: it keeps the cache, and names the Stacks that an event concerns.

use std::collections::HashSet;
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use futures::{Stream, StreamExt as _, stream};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::watcher::{self, Config, Event};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;
use weft_runtime::telemetry::chain;

use super::Scope;
use crate::cache::{Cache, GuardedStack, Keep, SECRETS, Writer, store};
use crate::metrics::OperatorMetrics;
use crate::names::{KEEPS, MANAGED_BY, MANAGER, OPERATOR, STACK};
use crate::view::OwnedView;

/// The queue of Stacks to look at, and the tasks that fill it.
pub struct Feeds {
    pub(super) queue: UnboundedReceiver<ObjectRef<GuardedStack>>,
    /// Ended when dropped.
    pub(super) tasks: JoinSet<()>,
}

/// Starts every watch.
pub fn feeds(client: &Client, scope: &Scope, metrics: &OperatorMetrics) -> (Cache, Feeds) {
    let (sender, queue) = unbounded();
    let (stacks, writer) = reflector::store::<GuardedStack>();
    metrics.watch_stacks(stacks.clone());
    let mut start = Start { stacks: stacks.clone(), sender, metrics: metrics.clone(), tasks: JoinSet::new() };
    let ours = || Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
    let api = || client.clone();
    start.keep_stacks(watch(scope.api(api()), Config::default()).reflect(writer));
    let (deployments, writer) = store();
    start.keep(watch(scope.api(api()), ours()), writer, owner);
    let (stateful_sets, writer) = store();
    start.keep(watch(scope.api(api()), ours()), writer, owner);
    let (controller_revisions, writer) = store();
    let keeping = Config::default().labels(KEEPS);
    start.keep(watch(scope.api::<OwnedView<ControllerRevision>>(api()), keeping), writer, owner);
    let (jobs, writer) = store();
    start.keep(watch(scope.api(api()), ours()), writer, owner);
    let (services, writer) = store();
    start.keep(watch(scope.api::<OwnedView<Service>>(api()), ours()), writer, owner);
    let (service_accounts, writer) = store();
    start.keep(watch(scope.api::<OwnedView<ServiceAccount>>(api()), ours()), writer, owner);
    let (config_maps, writer) = store();
    start.keep(watch(scope.api::<OwnedView<ConfigMap>>(api()), ours()), writer, owner);
    let (disruption_budgets, writer) = store();
    start.keep(watch(scope.api::<OwnedView<PodDisruptionBudget>>(api()), ours()), writer, owner);
    let (autoscalers, writer) = store();
    start.keep(watch(scope.api::<OwnedView<HorizontalPodAutoscaler>>(api()), ours()), writer, owner);
    let (network_policies, writer) = store();
    start.keep(watch(scope.api::<OwnedView<NetworkPolicy>>(api()), ours()), writer, owner);
    let (ingresses, writer) = store();
    start.keep(watch(scope.api::<OwnedView<Ingress>>(api()), ours()), writer, owner);
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
        jobs,
        services,
        service_accounts,
        config_maps,
        disruption_budgets,
        autoscalers,
        network_policies,
        ingresses,
        secrets,
        namespaces,
    };
    (cache, Feeds { queue, tasks: start.tasks })
}

/// Events may be lost, by us or on their way: everything is listed anew this often, give or take a tenth.
const LISTED_ANEW: Duration = Duration::from_secs(600);

/// Objects in one answer of a list: the whole of it is in memory at once.
const AT_ONCE: u32 = 100;

/// Everything of a kind, then each change; then everything again.
fn watch<K>(api: Api<K>, config: Config) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + Sync + 'static,
{
    let once = move || {
        let while_it_lasts = tokio::time::sleep(LISTED_ANEW.mul_f64(rand::random_range(0.9..1.1)));
        watcher::watcher(api.clone(), config.clone().page_size(AT_ONCE)).take_until(while_it_lasts)
    };
    let events = stream::repeat_with(once).flatten();
    events.modify(|object| object.meta_mut().managed_fields = None).default_backoff()
}

/// Which Stacks an object concerns.
type Concerns<K> = fn(&K, &reflector::Store<GuardedStack>) -> Vec<ObjectRef<GuardedStack>>;

struct Start {
    stacks: reflector::Store<GuardedStack>,
    sender: UnboundedSender<ObjectRef<GuardedStack>>,
    metrics: OperatorMetrics,
    tasks: JoinSet<()>,
}

impl Start {
    fn keep<K: Keep>(
        &mut self,
        events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
        mut writer: Writer<K>,
        concerns: Concerns<K>,
    ) {
        let stacks = self.stacks.clone();
        self.each(events, move |event| {
            let mut concerned = HashSet::new();
            writer.take(event, |object| concerned.extend(concerns(object, &stacks)));
            concerned
        });
    }

    fn keep_stacks(
        &mut self,
        events: impl Stream<Item = watcher::Result<Event<GuardedStack>>> + Send + 'static,
    ) {
        let stacks = self.stacks.clone();
        self.each(events, move |event| match event {
            Event::Apply(stack) | Event::Delete(stack) => siblings(&stack, &stacks),
            // Each is looked at, were it only because one that is gone brings no event of its own.
            Event::InitDone => references(&stacks.state()),
            Event::Init | Event::InitApply(_) => Vec::new(),
        });
    }

    /// Queues what each event concerns.
    fn each<
        K: Resource<DynamicType = ()> + Send + 'static,
        C: IntoIterator<Item = ObjectRef<GuardedStack>>,
    >(
        &mut self,
        events: impl Stream<Item = watcher::Result<Event<K>>> + Send + 'static,
        mut concerned: impl FnMut(Event<K>) -> C + Send + 'static,
    ) {
        let (sender, metrics) = (self.sender.clone(), self.metrics.clone());
        let kind = K::kind(&()).into_owned();
        self.tasks.spawn(async move {
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => concerned(event).into_iter().for_each(|stack| {
                        metrics.queued(&stack);
                        // Fails only when the queue's reader has ended, and then nobody is left to care.
                        drop(sender.unbounded_send(stack));
                    }),
                    Err(error) => {
                        metrics.failed("watch");
                        tracing::warn!(kind, error = chain(&error), "a watch failed; trying again");
                    }
                }
            }
        });
    }
}

fn references(stacks: &[std::sync::Arc<GuardedStack>]) -> Vec<ObjectRef<GuardedStack>> {
    stacks.iter().map(|stack| ObjectRef::from_obj(stack.as_ref())).collect()
}

/// The Stack that an object of ours says it belongs to.
fn owner<K: Resource>(object: &K, _: &reflector::Store<GuardedStack>) -> Vec<ObjectRef<GuardedStack>> {
    let namespace = object.meta().namespace.clone().unwrap_or_default();
    object.labels().get(STACK).map(|stack| ObjectRef::new(stack).within(&namespace)).into_iter().collect()
}

/// A Stack and the others of its namespace: when the elder goes, the younger may begin.
fn siblings(stack: &GuardedStack, stacks: &reflector::Store<GuardedStack>) -> Vec<ObjectRef<GuardedStack>> {
    let (namespace, uid) = (&stack.meta().namespace, &stack.meta().uid);
    let mut concerned = vec![ObjectRef::from_obj(stack)];
    let is_sibling = |other: &GuardedStack| other.meta().namespace == *namespace && other.meta().uid != *uid;
    concerned.extend(references(&stacks.state_filter(is_sibling)));
    concerned
}

/// The Stacks of a namespace that changes hands.
fn residents<K: Resource>(
    namespace: &K,
    stacks: &reflector::Store<GuardedStack>,
) -> Vec<ObjectRef<GuardedStack>> {
    references(&stacks.state_filter(|stack| stack.meta().namespace == namespace.meta().name))
}
