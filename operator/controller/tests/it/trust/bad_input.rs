//! Whatever a Stack or a Secret holds: it is refused with the field's name, or said in a condition. Nothing panics, and the others
//! go on.

use serde_json::{Value, json};

use crate::fake::{Cluster, Id};
use crate::faults::Faults;
use crate::fixtures;
use crate::schema::{Wrong, wrongs};
use crate::world::{self, calm, ends, reason, start};

/// So many beside each other: a cluster in memory takes longer for each, the more it has.
const AT_ONCE: usize = 50;

/// A definition of another version may let through what ours refuses.
#[tokio::test(start_paused = true)]
async fn a_wrong_value_that_comes_through_disturbs_no_other_stack() {
    let wrongs = wrongs();
    let mut invalid = 0;
    for some in wrongs.chunks(AT_ONCE) {
        invalid += disturb(some).await;
    }
    println!("bad input: {} that came through, {invalid} of them InvalidSpec", wrongs.len());
}

/// Puts them beside a good Stack. Returns how many are said to be invalid.
async fn disturb(wrongs: &[Wrong]) -> usize {
    let cluster = world::cluster();
    let good = fixtures::named("small");
    let id = |number: usize| Id("stacks".to_owned(), format!("bad-{number}"), "bad".to_owned());
    for (number, wrong) in wrongs.iter().enumerate() {
        let mut object = crate::harness::stack("bad", wrong.spec.clone()).1;
        object["metadata"]["namespace"] = id(number).1.into();
        cluster.act(|state| state.put(&id(number), object));
    }
    let operator = start(&cluster, &Faults::default()).await;
    good.put(&cluster);
    // Not until it is calm: an object that is refused is tried again and again.
    let is_observed = |number: usize| {
        let stack = cluster.state().objects[&id(number)].clone();
        !reason(&stack).is_empty() && stack["status"]["observedGeneration"] == 1
    };
    let all = 0..wrongs.len();
    world::in_time(&cluster, || ends(&cluster, &good) == "Ready" && all.clone().all(is_observed)).await;
    operator.stop().await;
    all.filter(|number| reason(&cluster.state().objects[&id(*number)]) == "InvalidSpec").count()
}

#[tokio::test(start_paused = true)]
async fn whatever_a_secret_holds_is_said_and_a_right_one_recovers() {
    let long = "x".repeat(1 << 20);
    let bad = [
        json!(null),
        json!({}),
        json!({ "uri": "" }),
        json!({ "uri": text("not a uri") }),
        json!({ "uri": text("mongodb://") }),
        json!({ "uri": text("http://db") }),
        json!({ "uri": text("\u{0}\u{1}") }),
        json!({ "uri": text(&long) }),
        json!({ "uri": "//79" }),
        json!({ "host": text("db") }),
        json!({ "host": "//79", "username": text("u"), "password": text("p") }),
        json!({ "host": text("db"), "username": text("u"), "password": text("p"), "port": text("70000") }),
    ];
    let fixture = fixtures::named("secret-missing");
    let secret = fixture.within("secrets", "later");
    let (cluster, other) = (world::cluster_with(&fixture), fixtures::named("small"));
    other.put(&cluster);
    let operator = start(&cluster, &Faults::default()).await;
    let right = json!({ "data": { "uri": text("mongodb://u:p@db/") } });
    for data in bad {
        cluster.act(|state| state.put(&secret, json!({ "data": data })));
        calm(&cluster).await;
        assert_eq!(ends(&cluster, &fixture), "SecretUnusable", "{}", shown(&data));
        cluster.act(|state| state.put(&secret, right.clone()));
        calm(&cluster).await;
        assert_eq!(ends(&cluster, &fixture), "Ready", "after {}", shown(&data));
        cluster.act(|state| state.delete(&secret));
        calm(&cluster).await;
        assert_eq!(ends(&cluster, &fixture), "SecretMissing", "after {}", shown(&data));
    }
    assert_eq!(ends(&cluster, &other), "Ready");
    operator.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stack_of_a_mebibyte_is_looked_at_like_any_other() {
    let (cluster, good) = (world::cluster(), fixtures::named("small"));
    let env: Vec<Value> =
        (0..64).map(|number| json!({ "name": format!("V{number}"), "value": "x".repeat(4_096) })).collect();
    let services =
        ["broker", "logger", "listener", "mail"].map(|name| (name.to_owned(), json!({ "env": env })));
    let services: serde_json::Map<_, _> = services.into_iter().collect();
    let spec = json!({ "version": "0.1.0", "services": services });
    assert!(spec.to_string().len() > 1 << 20);
    let (id, object) = crate::harness::stack("shop", spec);
    cluster.act(|state| state.put(&id, object));
    let operator = start(&cluster, &Faults::default()).await;
    good.put(&cluster);
    calm(&cluster).await;
    assert_eq!(reason(&cluster.state().objects[&id]), "Ready");
    assert_eq!(ends(&cluster, &good), "Ready");
    operator.stop().await;
}

fn text(text: &str) -> Value {
    json!(k8s_openapi::ByteString(text.as_bytes().to_vec()))
}

fn shown(value: &Value) -> String {
    value.to_string().chars().take(300).collect()
}

/// Names that are taken: by a built-in, by a Stack of another release, by each other.
#[tokio::test(start_paused = true)]
async fn what_bears_one_of_our_names_is_never_taken_over() {
    let fixture = fixtures::named("plain");
    for plural in ["services", "deployments", "serviceaccounts", "statefulsets"] {
        let cluster: Cluster = world::cluster_with(&fixture);
        let name = if plural == "statefulsets" { "mongodb" } else { "logger" };
        let theirs = json!({ "metadata": { "labels": { "app": "theirs" } }, "spec": { "replicas": 1 } });
        let id = fixture.within(plural, name);
        cluster.act(|state| {
            state.pods_run = false;
            state.put(&id, theirs);
            state.pods_run = true;
        });
        let before = cluster.state().objects[&id].clone();
        let operator = start(&cluster, &Faults::default()).await;
        calm(&cluster).await;
        assert_eq!(ends(&cluster, &fixture), "ApplyFailed", "{plural}");
        assert_eq!(cluster.state().objects[&id], before);
        cluster.act(|state| state.delete(&id));
        calm(&cluster).await;
        assert_eq!(ends(&cluster, &fixture), "Ready", "{plural}");
        operator.stop().await;
    }
}
