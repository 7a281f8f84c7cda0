//! A Stack that can't be built says why, and disturbs nobody.

use serde_json::json;

use crate::fake::{Cluster, Id};
use crate::harness::{Operator, full, ready, stack};

fn stalled(state: &crate::fake::State, name: &str, reason: &str, part: &str) -> bool {
    state
        .condition(name, "Stalled")
        .is_some_and(|(status, why, message)| status == "True" && why == reason && message.contains(part))
}

#[tokio::test]
async fn an_unknown_version_lists_the_known_ones_and_leaves_what_runs_alone() {
    let (cluster, _operator) = ready(full()).await;
    let before = cluster.act(|state| {
        state.edit("stacks", "shop", |stack| stack["spec"]["version"] = "9.9.9".into());
        state.get("deployments", "broker").unwrap().clone()
    });
    cluster
        .eventually("it is stalled", |state| stalled(state, "shop", "UnknownVersion", "0.1.0, 0.2.0"))
        .await;
    assert_eq!(*cluster.state().get("deployments", "broker").unwrap(), before);
    cluster.act(|state| state.edit("stacks", "shop", |stack| stack["spec"]["version"] = "0.2.0".into()));
    cluster.eventually("a right one recovers", |state| state.is_ready("shop")).await;
}

#[tokio::test]
async fn the_younger_of_two_stacks_waits_until_the_elder_goes() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(|state| {
        let (id, object) = stack("annex", full());
        state.put(&id, object);
    });
    cluster
        .eventually("it names the elder", |state| {
            stalled(state, "annex", "AnotherStackInNamespace", "`shop`")
        })
        .await;
    assert!(cluster.state().is_ready("shop"));
    cluster.act(|state| state.delete(&Id::shop("stacks", "shop")));
    cluster.eventually("the younger has its turn", |state| state.is_ready("annex")).await;
}

#[tokio::test]
async fn of_two_stacks_of_an_age_the_first_by_name_goes_first() {
    let cluster = Cluster::default();
    cluster.act(|state| {
        state.pods_run = true;
        for name in ["shop", "annex"] {
            let (id, object) = stack(name, full());
            state.put(&id, object);
            state.objects.get_mut(&id).unwrap()["metadata"]["creationTimestamp"] =
                "2026-01-01T00:00:00Z".into();
        }
    });
    let _operator = Operator::start(&cluster).await;
    cluster
        .eventually("one is ready and the other names it", |state| {
            state.is_ready("annex") && stalled(state, "shop", "AnotherStackInNamespace", "`annex`")
        })
        .await;
}

#[tokio::test]
async fn a_stack_that_can_t_be_read_says_so_and_others_go_on() {
    let cluster = Cluster::default();
    cluster.act(|state| {
        state.pods_run = true;
        let (_, object) = stack("bad", json!({ "version": 7 }));
        state.put(&Id("stacks".to_owned(), "other".to_owned(), "bad".to_owned()), object);
        let (id, object) = stack("shop", full());
        state.put(&id, object);
    });
    let _operator = Operator::start(&cluster).await;
    cluster.eventually("the good one is ready", |state| state.is_ready("shop")).await;
    let bad = Id("stacks".to_owned(), "other".to_owned(), "bad".to_owned());
    cluster
        .eventually("the bad one says why", |state| {
            state.objects[&bad]["status"]["conditions"].to_string().contains("InvalidSpec")
        })
        .await;
}

#[tokio::test]
async fn an_object_of_someone_else_is_left_alone() {
    let cluster = Cluster::default();
    let theirs = json!({ "metadata": { "labels": { "app": "theirs" } }, "spec": { "ports": [] } });
    cluster.act(|state| {
        state.pods_run = true;
        state.put(&Id::shop("services", "broker"), theirs);
        let (id, object) = stack("shop", full());
        state.put(&id, object);
    });
    let _operator = Operator::start(&cluster).await;
    cluster
        .eventually("the Stack names it", |state| {
            state.condition("shop", "Ready").is_some_and(|(status, reason, message)| {
                status == "False" && reason == "ApplyFailed" && message.contains("Service broker")
            })
        })
        .await;
    let state = cluster.state();
    assert_eq!(state.get("services", "broker").unwrap()["metadata"]["labels"], json!({ "app": "theirs" }));
    assert!(state.get("deployments", "listener").is_some(), "the rest is applied all the same");
}

#[tokio::test]
async fn a_namespace_of_another_release_is_left_alone_until_it_changes_hands() {
    let cluster = Cluster::default();
    let namespace = Id("namespaces".to_owned(), String::new(), "shop".to_owned());
    cluster.act(|state| {
        state.pods_run = true;
        state.put(&namespace, json!({ "metadata": { "labels": { "weft.dev/operator": "other" } } }));
        let (id, object) = stack("shop", full());
        state.put(&id, object);
        let mut elsewhere = stack("shop", full()).1;
        elsewhere["metadata"]["namespace"] = "free".into();
        state.put(&Id("stacks".to_owned(), "free".to_owned(), "shop".to_owned()), elsewhere);
    });
    let _operator = Operator::start(&cluster).await;
    let free = Id("deployments".to_owned(), "free".to_owned(), "logger".to_owned());
    cluster.eventually("the free one is looked after", |state| state.objects.contains_key(&free)).await;
    assert!(cluster.state().names("deployments").is_empty());
    cluster.act(|state| {
        let mut named = state.objects[&namespace].clone();
        named["metadata"]["labels"] = json!({ "weft.dev/operator": "weft" });
        state.put(&namespace, named);
    });
    cluster.eventually("it changes hands", |state| state.is_ready("shop")).await;
}

#[tokio::test]
async fn a_failing_write_is_told_and_tried_again() {
    let cluster = Cluster::default();
    cluster.act(|state| {
        state.pods_run = true;
        state.broken = Some("statefulsets/rabbitmq".to_owned());
        let (id, object) = stack("shop", full());
        state.put(&id, object);
    });
    let _operator = Operator::start(&cluster).await;
    let told = |state: &crate::fake::State| {
        state.condition("shop", "Ready").is_some_and(|(_, reason, message)| {
            reason == "ApplyFailed" && message.contains("failed to apply StatefulSet rabbitmq")
        })
    };
    cluster.eventually("it says what failed", told).await;
    cluster.act(|state| state.broken = None);
    cluster.eventually("it goes on by itself", |state| state.is_ready("shop")).await;
}
