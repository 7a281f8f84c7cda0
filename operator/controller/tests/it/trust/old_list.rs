//! G2: an operator that starts with an old list deletes nothing that is wanted.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::fake::{Cluster, Id, State};
use crate::faults::{Faults, Old, Script};
use crate::fixtures::{self, Fixture};
use crate::world::{self, assert_data_untouched, assert_same, calm, ends, shape, start};

/// Which kinds are old; no name means all.
const KINDS: [&[&str]; 4] = [
    &[],
    &["stacks"],
    &["deployments", "statefulsets"],
    &["services", "serviceaccounts", "configmaps", "secrets"],
];

#[tokio::test(start_paused = true)]
async fn an_old_list_after_edits_deletes_nothing_that_is_wanted() {
    let fixture = fixtures::named("traced");
    let runs = from_every_age(&fixture, async |cluster| {
        let whole = fixture.spec();
        let less = json!({ "version": "0.1.0", "services": {
            "listener": { "enabled": false }, "frontend": { "enabled": false },
        } });
        for spec in [less, whole] {
            let edit = |stack: &mut Value| stack["spec"] = spec;
            cluster.act(|state| state.edit_at(&fixture.id(), edit));
            calm(&cluster).await;
        }
    })
    .await;
    println!("G2: {runs} starts with lists from before edits");
}

#[tokio::test(start_paused = true)]
async fn an_old_list_after_a_stack_was_made_anew_deletes_nothing_that_is_wanted() {
    let fixture = fixtures::named("small");
    let runs = from_every_age(&fixture, async |cluster| {
        cluster.act(|state| state.delete(&fixture.id()));
        calm(&cluster).await;
        fixture.put(&cluster);
        calm(&cluster).await;
    })
    .await;
    println!("G2: {runs} starts with lists of a former Stack");
}

/// The status of a Stack is never that of a former one.
#[tokio::test(start_paused = true)]
async fn an_old_list_tells_nothing_of_a_stack_that_was_made_anew() {
    let fixture = fixtures::named("unknown-version");
    let cluster = world::cluster_with(&fixture);
    let revision = cluster.state().revision;
    let former = replayed(&cluster, revision);
    cluster.act(|state| {
        state.delete(&fixture.id());
        state.put(&fixture.id(), crate::harness::stack(&fixture.stack, json!({ "version": "0.1.0" })).1);
    });
    let old = Old { cluster: former, plurals: vec!["stacks"] };
    let faults = Faults::of(Script { old: Some(old), ..Script::default() });
    let operator = start(&cluster, &faults).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(ends(&cluster, &fixture), "", "nobody has looked at it yet");
    faults.catch_up();
    calm(&cluster).await;
    assert_eq!(ends(&cluster, &fixture), "Ready");
    operator.stop().await;
}

/// By an old list the Stack still wants its data deleted.
#[tokio::test(start_paused = true)]
async fn an_old_list_gives_no_data_to_a_stack_that_no_longer_wants_it_deleted() {
    let fixture = fixtures::named("traced");
    let cluster = world::cluster_with(&fixture);
    let operator = start(&cluster, &Faults::default()).await;
    calm(&cluster).await;
    operator.stop().await;
    let allow = |allowed: bool| {
        move |stack: &mut Value| {
            stack["spec"]["deletionPolicy"] = "Delete".into();
            crate::life::allow(stack, allowed);
        }
    };
    cluster.act(|state| state.edit_at(&fixture.id(), allow(true)));
    let revision = cluster.state().revision;
    cluster.act(|state| state.edit_at(&fixture.id(), allow(false)));
    let since = cluster.state().revision;
    let old = Old { cluster: replayed(&cluster, revision), plurals: vec!["stacks"] };
    let faults = Faults::of(Script { old: Some(old), ..Script::default() });
    let operator = start(&cluster, &faults).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    faults.catch_up();
    calm(&cluster).await;
    operator.stop().await;
    let is_owned = |event: &Value| {
        let object = &event["object"];
        !object["metadata"]["labels"]["weft.dev/data"].is_null()
            && object["metadata"]["ownerReferences"].as_array().is_some_and(|owners| !owners.is_empty())
    };
    let state = cluster.state();
    let owned = state.history.iter().find(|(revision, _, event)| *revision > since && is_owned(event));
    assert!(owned.is_none(), "{owned:?}");
    drop(state);
    assert_eq!(ends(&cluster, &fixture), "Ready");
}

/// Lives a life, then starts an operator from every former state of it.
async fn from_every_age(fixture: &Fixture, life: impl AsyncFn(Cluster)) -> usize {
    let cluster = world::cluster_with(fixture);
    let operator = start(&cluster, &Faults::default()).await;
    calm(&cluster).await;
    life(cluster.clone()).await;
    operator.stop().await;
    let wanted = shape(&cluster, &fixture.name);
    let last = cluster.state().revision;
    let mut runs = 0;
    for revision in (1..last).step_by(2) {
        let plurals = KINDS[runs % KINDS.len()].to_vec();
        let what = format!("lists of {plurals:?} as of {revision} of {last}");
        let now = replayed(&cluster, last);
        let old = Old { cluster: replayed(&cluster, revision), plurals };
        let faults = Faults::of(Script { old: Some(old), ..Script::default() });
        let operator = start(&now, &faults).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_nothing_wanted_is_deleted(&now, last, &wanted.keys().cloned().collect(), &what);
        faults.catch_up();
        calm(&now).await;
        operator.stop().await;
        assert_same(&shape(&now, &fixture.name), &wanted, &what);
        assert_data_untouched(&now, &what);
        runs += 1;
    }
    runs
}

/// A cluster as it was at a revision.
fn replayed(cluster: &Cluster, revision: u64) -> Cluster {
    let copy = Cluster::default();
    copy.act(|state: &mut State| *state = cluster.state().replayed(revision));
    copy
}

fn assert_nothing_wanted_is_deleted(cluster: &Cluster, since: u64, wanted: &BTreeSet<Id>, what: &str) {
    for (revision, id, event) in &cluster.state().history {
        let wrong = *revision > since && event["type"] == "DELETED" && wanted.contains(id);
        assert!(!wrong, "{what}: {id:?} was deleted");
    }
}
