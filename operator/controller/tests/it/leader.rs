//! Candidates against an API server in memory, in paused time. The state machine's own tests, with a clock of theirs, are beside it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use weft_operator::leader::{Candidate, Leadership, Surroundings, Timing};
use weft_operator::metrics::OperatorMetrics;
use weft_runtime::clock::SystemClock;
use weft_runtime::health::Health;
use weft_runtime::metrics::Metrics;

use crate::fake::{Cluster, Id, State};
use crate::harness::{Operator, full, installation, stack};

/// Short, so that nobody waits long for a Lease to run out.
const SHORT: Timing = Timing {
    lease: Duration::from_secs(1),
    give_up: Duration::from_millis(600),
    renew: Duration::from_millis(50),
    look: Duration::from_millis(30),
};
const SOON: Duration = Duration::from_secs(10);

struct One {
    leadership: Leadership,
    health: Health,
    metrics: Metrics,
    campaign: tokio::task::JoinHandle<()>,
    resign: tokio::sync::oneshot::Sender<()>,
}

impl One {
    fn start(cluster: &Cluster, identity: &str, timing: Timing) -> Self {
        let (health, metrics) = (Health::default(), Metrics::default());
        let surroundings = Surroundings {
            clock: Arc::new(SystemClock),
            metrics: OperatorMetrics::register(&metrics),
            condition: health.condition("lease"),
        };
        let client = cluster.client();
        let mut candidate =
            Candidate::new(&client, "weft-operator", identity.to_owned(), timing, surroundings);
        let leadership = candidate.leadership();
        let (resign, resigned) = tokio::sync::oneshot::channel();
        let campaign = tokio::spawn(async move {
            tokio::select! {
                () = candidate.campaign() => {}
                asked = resigned => if asked.is_ok() { candidate.resign().await },
            }
        });
        Self { leadership, health, metrics, campaign, resign }
    }

    async fn leads(&mut self) {
        timeout(SOON, self.leadership.gained()).await.expect("it never led");
    }

    async fn leads_no_more(&mut self) {
        timeout(SOON, self.leadership.lost()).await.expect("it still leads");
    }

    fn shows(&self, line: &str) -> bool {
        self.metrics.encode().lines().any(|shown| shown == line)
    }

    /// As SIGKILL.
    fn crash(self) {
        self.campaign.abort();
    }

    /// As SIGTERM.
    async fn end(self) {
        self.resign.send(()).unwrap();
        self.campaign.await.unwrap();
    }
}

fn lease() -> Id {
    Id("leases".to_owned(), "default".to_owned(), "weft-operator".to_owned())
}

fn holder(state: &State) -> Value {
    state.objects.get(&lease()).map(|lease| lease["spec"]["holderIdentity"].clone()).unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_the_other_is_ready_to() {
    let cluster = Cluster::default();
    let mut first = One::start(&cluster, "a", SHORT);
    first.leads().await;
    let mut second = One::start(&cluster, "b", SHORT);
    // Longer than a Lease lasts: it is renewed.
    assert!(timeout(Duration::from_millis(1_500), second.leadership.gained()).await.is_err());
    assert_eq!(holder(&cluster.state()), "a");
    assert!(first.shows("weft_operator_leader 1") && second.shows("weft_operator_leader 0"));
    assert!(second.health.is_ready(), "{:?}", second.health.missing());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_crashes_is_succeeded_once_its_lease_has_run_out() {
    let cluster = Cluster::default();
    let mut first = One::start(&cluster, "a", SHORT);
    first.leads().await;
    let mut second = One::start(&cluster, "b", SHORT);
    cluster.eventually("the second has looked", |_| second.health.is_ready()).await;
    let crashed = Instant::now();
    first.crash();
    second.leads().await;
    // The last renewal was at most one period before.
    assert!(crashed.elapsed() > SHORT.lease - 4 * SHORT.renew, "after {:?}", crashed.elapsed());
    let transitions = cluster.state().objects[&lease()]["spec"]["leaseTransitions"].clone();
    assert_eq!((holder(&cluster.state()), transitions), (json!("b"), json!(1)));
}

/// With the times that are used in production.
#[tokio::test(start_paused = true)]
async fn a_leader_that_ends_cleanly_is_succeeded_in_less_than_three_seconds() {
    let cluster = Cluster::default();
    let mut first = One::start(&cluster, "a", Timing::default());
    first.leads().await;
    let mut second = One::start(&cluster, "b", Timing::default());
    cluster.eventually("the second has looked", |_| second.health.is_ready()).await;
    let ended = Instant::now();
    first.end().await;
    assert_eq!(holder(&cluster.state()), Value::Null);
    second.leads().await;
    assert!(ended.elapsed() < Duration::from_secs(3), "after {:?}", ended.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_can_t_renew_stops_and_leads_again_when_it_can() {
    let cluster = Cluster::default();
    let mut only = One::start(&cluster, "a", SHORT);
    only.leads().await;
    cluster.act(|state| state.broken = Some("put leases".to_owned()));
    only.leads_no_more().await;
    assert!(only.shows("weft_operator_leader 0") && !only.health.is_ready());
    cluster.act(|state| state.broken = None);
    only.leads().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_another_has_taken_the_lease_from_stops_at_its_next_look() {
    let cluster = Cluster::default();
    let mut only = One::start(&cluster, "a", SHORT);
    only.leads().await;
    cluster.act(|state| {
        let mut taken = state.objects[&lease()].clone();
        taken["spec"]["holderIdentity"] = "b".into();
        state.put(&lease(), taken);
    });
    only.leads_no_more().await;
}

/// One that stands by writes nothing and knows everything; one that loses the Lease writes nothing more.
#[tokio::test(start_paused = true)]
async fn only_the_leader_reconciles() {
    let cluster = Cluster::default();
    let taken = json!({ "spec": { "holderIdentity": "b", "leaseDurationSeconds": 3600 } });
    cluster.act(|state| {
        state.pods_run = true;
        state.put(&lease(), taken.clone());
    });
    let one = One::start(&cluster, "a", SHORT);
    let operator = Operator::start_as(&cluster, installation(), one.leadership.clone()).await;
    cluster.act(|state| {
        let (id, object) = stack("shop", full());
        state.put(&id, object);
    });
    let stacks = operator.context.cache.stacks.clone();
    let generation = |wanted: i64| {
        stacks.state().iter().any(|stack| stack.0.as_ref().unwrap().metadata.generation == Some(wanted))
    };
    cluster
        .eventually("it has seen the Stack and looked at the Lease", |_| {
            generation(1) && one.health.is_ready()
        })
        .await;
    assert_eq!(cluster.state().writes, [] as [String; 0]);

    cluster.act(|state| {
        let mut free = state.objects[&lease()].clone();
        free["spec"]["holderIdentity"] = Value::Null;
        state.put(&lease(), free);
    });
    cluster.eventually("it leads and brings the Stack up", |state| state.is_ready("shop")).await;

    let mut leadership = one.leadership.clone();
    cluster.act(|state| {
        state.put(&lease(), taken);
    });
    timeout(SOON, leadership.lost()).await.unwrap();
    cluster.act(|state| {
        state.edit("stacks", "shop", |stack| stack["spec"]["services"]["logger"] = json!({ "replicas": 3 }));
    });
    cluster.eventually("it has seen the edit", |_| generation(2)).await;
    operator.stop().await;
    let replicas = cluster.state().get("deployments", "logger").unwrap()["spec"]["replicas"].clone();
    assert_ne!(replicas, 3, "it wrote although another led");
}
