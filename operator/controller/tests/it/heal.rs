//! What is deleted comes back, what is edited is put back, what is no longer asked for goes, and data stays.

use serde_json::json;

use crate::fake::Id;
use crate::harness::{full, ready, stack};

#[tokio::test]
async fn every_owned_object_comes_back_after_it_was_deleted() {
    let (cluster, _operator) = ready(full()).await;
    let owned: Vec<Id> = cluster.act(|state| {
        let owned = |object: &serde_json::Value| object["metadata"]["ownerReferences"].is_array();
        state.objects.iter().filter(|(_, object)| owned(object)).map(|(id, _)| id.clone()).collect()
    });
    // 6 accounts, 1 map, 5 Services, 4 Deployments, 2 StatefulSets.
    assert_eq!(owned.len(), 18, "{owned:?}");
    for id in owned {
        let uid = cluster.act(|state| state.delete(&id).unwrap()["metadata"]["uid"].clone());
        cluster
            .eventually(&format!("{id:?} is back"), |state| {
                state.objects.get(&id).is_some_and(|object| object["metadata"]["uid"] != uid)
                    && state.is_ready("shop")
            })
            .await;
    }
}

#[tokio::test]
async fn what_is_edited_is_put_back_and_what_others_add_stays() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(|state| {
        state.edit("deployments", "broker", |object| {
            object["spec"]["template"]["spec"]["containers"][0]["image"] = "evil".into();
            object["metadata"]["labels"]["team"] = "blue".into();
        });
        state.edit("services", "logger", |object| object["spec"]["selector"] = json!({ "app": "other" }));
        state.edit("serviceaccounts", "broker", |object| {
            object["metadata"]["labels"].as_object_mut().unwrap().remove("weft.dev/stack");
        });
    });
    cluster
        .eventually("it is as it was", |state| {
            let broker = state.get("deployments", "broker").unwrap();
            broker["spec"]["template"]["spec"]["containers"][0]["image"] == "weft/broker:0.1.0"
                && broker["metadata"]["labels"]["team"] == "blue"
                && state.get("services", "logger").unwrap()["spec"]["selector"]["weft.dev/stack"] == "shop"
                && state.get("serviceaccounts", "broker").unwrap()["metadata"]["labels"]["weft.dev/stack"]
                    == "shop"
        })
        .await;
}

#[tokio::test]
async fn what_is_no_longer_asked_for_goes() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(|state| {
        state.edit("stacks", "shop", |stack| {
            stack["spec"] = json!({ "version": "0.1.0", "services": { "listener": { "enabled": false } } });
        });
    });
    cluster
        .eventually("Jaeger and the listener are gone", |state| {
            state.names("deployments") == ["broker", "logger"]
                && state.names("configmaps").is_empty()
                && state.names("services") == ["broker", "logger", "mongodb", "rabbitmq"]
                && state.names("serviceaccounts") == ["broker", "logger", "mongodb", "rabbitmq"]
                && state.is_ready("shop")
        })
        .await;
}

#[tokio::test]
async fn passwords_outlive_the_stack_and_are_found_again() {
    let (cluster, _operator) = ready(full()).await;
    let secrets = || {
        cluster.act(|state| ["mongodb", "rabbitmq"].map(|name| state.get("secrets", name).unwrap().clone()))
    };
    let before = secrets();
    cluster.act(|state| state.delete(&Id::shop("stacks", "shop")));
    cluster.eventually("what it ran is gone", |state| state.names("deployments").is_empty()).await;
    assert_eq!(secrets(), before);
    cluster.act(|state| {
        let (id, object) = stack("shop", full());
        state.put(&id, object);
    });
    cluster.eventually("it is ready again", |state| state.is_ready("shop")).await;
    assert_eq!(secrets(), before);
}

#[tokio::test]
async fn a_volume_without_its_password_is_never_given_a_new_one() {
    let (cluster, _operator) = ready(full()).await;
    let rabbitmq = Id::shop("secrets", "rabbitmq");
    let secret = cluster.act(|state| {
        state.put(&Id::shop("persistentvolumeclaims", "data-rabbitmq-0"), json!({}));
        state.delete(&rabbitmq).unwrap()
    });
    cluster
        .eventually("the Stack says so", |state| {
            state.condition("shop", "Stalled").is_some_and(|(status, reason, message)| {
                status == "True" && reason == "CredentialsLost" && message.contains("data-rabbitmq-0")
            })
        })
        .await;
    assert!(cluster.state().get("secrets", "rabbitmq").is_none());
    cluster.act(|state| {
        let mut restored = secret;
        restored["metadata"].as_object_mut().unwrap().remove("uid");
        state.put(&rabbitmq, restored);
    });
    cluster.eventually("it goes on when the Secret is restored", |state| state.is_ready("shop")).await;
}
