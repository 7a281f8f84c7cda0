//! What is deleted comes back, what is edited is put back, what is no longer asked for goes, and data stays.

use serde_json::json;

use crate::fake::{Id, State};
use crate::harness::{full, ready, stack};

/// What opens data.
const DATA: [&str; 8] = [
    "mongodb",
    "mongodb-superuser",
    "postgres",
    "postgres-superuser",
    "rabbitmq",
    "rabbitmq-superuser",
    "shop-admin",
    "weft-authentication",
];

#[tokio::test]
async fn every_owned_object_comes_back_after_it_was_deleted() {
    let (cluster, _operator) = ready(full()).await;
    let owned: Vec<Id> = cluster.act(|state| {
        let owned = |object: &serde_json::Value| object["metadata"]["ownerReferences"].is_array();
        state.objects.iter().filter(|(_, object)| owned(object)).map(|(id, _)| id.clone()).collect()
    });
    let owned: Vec<Id> = owned.into_iter().filter(|id| id.0 != "pods").collect();
    // 11 accounts and NetworkPolicies, 2 maps, 1 of templates, 10 Services, 8 Deployments, 3 StatefulSets, the broker's budget.
    assert_eq!(owned.len(), 47, "{owned:?}");
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
            stack["spec"] = json!({ "version": "0.1.0", "services": {
                "listener": { "enabled": false }, "authentication": { "enabled": false },
                "mail": { "enabled": false }, "frontend": { "enabled": false },
            } });
        });
    });
    let left = ["broker", "logger", "mongodb", "rabbitmq"];
    cluster
        .eventually("what is switched off is gone, with its stores and Jaeger", |state| {
            state.names("deployments") == ["broker", "logger"]
                && state.names("configmaps") == ["rabbitmq"]
                && state.names("services") == left
                && state.names("serviceaccounts") == left
                && state.is_ready("shop")
        })
        .await;
    let secrets =
        cluster.act(|state| state.names("secrets").iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    assert_eq!(secrets, DATA, "what opens data stays");
}

#[tokio::test]
async fn the_front_end_goes_and_comes_by_an_edit_of_the_stack() {
    let (cluster, _operator) = ready(full()).await;
    for enabled in [false, true] {
        cluster.act(|state| {
            state.edit("stacks", "shop", |stack| {
                stack["spec"]["services"]["frontend"] = json!({ "enabled": enabled });
            });
        });
        cluster
            .eventually("it is as the edit says", |state| {
                let told = state.get("stacks", "shop").unwrap()["status"]["summary"].to_string();
                state.get("deployments", "frontend").is_some() == enabled
                    && state.get("services", "frontend").is_some() == enabled
                    && told.contains("frontend") == enabled
                    && state.is_ready("shop")
            })
            .await;
    }
}

#[tokio::test]
async fn passwords_outlive_the_stack_and_are_found_again() {
    let (cluster, _operator) = ready(full()).await;
    let secrets = || cluster.act(|state| DATA.map(|name| state.get("secrets", name).unwrap().clone()));
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

/// Its password would not be that of the user who is in the data.
#[tokio::test]
async fn a_first_user_s_secret_that_is_deleted_is_not_made_again() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(|state| {
        state.put(&Id::shop("persistentvolumeclaims", "data-postgres-0"), json!({}));
        state.delete(&Id::shop("secrets", "shop-admin"));
        // Nobody watches it: the next look finds it gone.
        state.edit("stacks", "shop", |stack| stack["spec"]["services"]["broker"]["replicas"] = 3.into());
    });
    cluster
        .eventually("authentication goes on without it", |state| {
            let pod = state.get("deployments", "authentication").unwrap()["spec"]["template"].to_string();
            !pod.contains("AUTH_FIRST_USER") && state.is_ready("shop")
        })
        .await;
    assert!(cluster.state().get("secrets", "shop-admin").is_none());
}

/// What it opens can be made again: signing keys, while sessions go on.
#[tokio::test]
async fn an_encryption_key_that_is_deleted_is_made_again_and_authentication_rolls() {
    let (cluster, _operator) = ready(full()).await;
    let of = |state: &State| state.get("secrets", "weft-authentication").map(|secret| secret["data"].clone());
    let inputs = |state: &State| {
        let pod = &state.get("deployments", "authentication").unwrap()["spec"]["template"];
        pod["metadata"]["annotations"]["weft.dev/inputs"].clone()
    };
    let before = of(&cluster.state());
    let rolled = inputs(&cluster.state());
    assert!(before.is_some());
    cluster.act(|state| {
        state.put(&Id::shop("persistentvolumeclaims", "data-postgres-0"), json!({}));
        state.delete(&Id::shop("secrets", "weft-authentication"));
    });
    cluster
        .eventually("authentication has a new key", |state| {
            of(state).is_some_and(|data| Some(data) != before)
                && inputs(state) != rolled
                && state.is_ready("shop")
        })
        .await;
}

#[tokio::test]
async fn an_edited_list_of_encryption_keys_is_left_alone_and_rolls_authentication() {
    let (cluster, _operator) = ready(full()).await;
    let pods =
        |state: &State| state.get("deployments", "authentication").unwrap()["spec"]["template"].clone();
    let before = pods(&cluster.state());
    let keys = "bmV3Cm9sZAo=";
    cluster.act(|state| {
        state
            .edit("secrets", "weft-authentication", |secret| secret["data"]["encryption-keys"] = keys.into());
    });
    cluster.eventually("it rolls", |state| pods(state) != before && state.is_ready("shop")).await;
    let state = cluster.state();
    assert_eq!(state.get("secrets", "weft-authentication").unwrap()["data"]["encryption-keys"], keys);
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

#[tokio::test]
async fn a_secret_that_loses_its_encryption_keys_is_refused_before_a_pod_hangs() {
    let (cluster, _operator) = ready(full()).await;
    let pods =
        |state: &State| state.get("deployments", "authentication").unwrap()["spec"]["template"].clone();
    let before = pods(&cluster.state());
    let rename = |from: &'static str, to: &'static str| {
        cluster.act(|state| {
            state.edit("secrets", "weft-authentication", |secret| {
                let data = secret["data"].as_object_mut().unwrap();
                let keys = data.remove(from).unwrap();
                data.insert(to.to_owned(), keys);
            });
        });
    };
    rename("encryption-keys", "keys");
    cluster
        .eventually("the Stack says so", |state| {
            state.condition("shop", "Ready").is_some_and(|(status, reason, message)| {
                status == "False" && reason == "SecretUnusable" && message.contains("encryption-keys")
            })
        })
        .await;
    assert_eq!(pods(&cluster.state()), before, "no pod is started without it");
    rename("keys", "encryption-keys");
    cluster.eventually("it goes on", |state| state.is_ready("shop")).await;
    assert_eq!(pods(&cluster.state()), before);
}
