//! A Stack's life: restarted, paused, stopped, started, left, found again.

use serde_json::{Value, json};

use crate::fake::{Cluster, Id, State};
use crate::harness::{full, ready, stack};

fn edit(cluster: &Cluster, edit: impl FnOnce(&mut Value)) {
    cluster.act(|state| state.edit("stacks", "shop", edit));
}

fn replicas(state: &State, plural: &str, name: &str) -> Value {
    state.get(plural, name).unwrap()["spec"]["replicas"].clone()
}

fn restarted(state: &State, plural: &str, name: &str) -> Value {
    let template = &state.get(plural, name).unwrap()["spec"]["template"];
    template["metadata"]["annotations"]["weft.dev/restarted-at"].clone()
}

#[tokio::test]
async fn a_restart_is_of_one_service_or_of_all() {
    let (cluster, _operator) = ready(full()).await;
    edit(&cluster, |stack| stack["spec"]["services"]["mail"]["restartedAt"] = "2026-11-25T15:00:00Z".into());
    let one = |state: &State| {
        restarted(state, "deployments", "mail") == "2026-11-25T15:00:00Z" && state.is_ready("shop")
    };
    cluster.eventually("mail restarts", one).await;
    assert_eq!(restarted(&cluster.state(), "deployments", "logger"), Value::Null);
    edit(&cluster, |stack| stack["spec"]["restartedAt"] = "2026-11-25T16:00:00Z".into());
    cluster
        .eventually("all restart", |state| {
            let deployments =
                ["broker", "authentication", "logger", "listener", "frontend", "mailcatcher", "jaeger"];
            let stores = ["mongodb", "postgres", "rabbitmq"];
            deployments.iter().all(|name| restarted(state, "deployments", name) == "2026-11-25T16:00:00Z")
                && stores.iter().all(|name| restarted(state, "statefulsets", name) == "2026-11-25T16:00:00Z")
                && restarted(state, "deployments", "mail") == "2026-11-25T16:00:00Z,2026-11-25T15:00:00Z"
                && state.is_ready("shop")
        })
        .await;
}

fn is_paused(state: &State, ready: &str) -> bool {
    let holds = |type_: &str| state.condition("shop", type_).map(|(status, ..)| status);
    holds("Paused").as_deref() == Some("True") && holds("Ready").as_deref() == Some(ready)
}

#[tokio::test]
async fn a_paused_service_is_left_alone_and_the_others_are_not() {
    let (cluster, _operator) = ready(full()).await;
    let before = cluster.state().get("deployments", "broker").unwrap().clone();
    edit(&cluster, |stack| stack["spec"]["services"]["broker"]["paused"] = true.into());
    cluster.eventually("it is paused, and as it should be", |state| is_paused(state, "True")).await;
    edit(&cluster, |stack| {
        stack["spec"]["services"]["broker"]["env"] = json!([{ "name": "A", "value": "b" }]);
        stack["spec"]["services"]["logger"] = json!({ "replicas": 2 });
    });
    cluster
        .eventually("the others are changed, and it says what is behind", |state| {
            replicas(state, "deployments", "logger") == 2
                && is_paused(state, "False")
                && state
                    .condition("shop", "Ready")
                    .is_some_and(|(_, reason, message)| reason == "Paused" && message.contains("broker"))
        })
        .await;
    assert_eq!(cluster.state().get("deployments", "broker").unwrap()["spec"], before["spec"]);
    cluster.act(|state| state.delete(&Id::shop("services", "broker")));
    edit(&cluster, |stack| stack["spec"]["services"]["logger"] = json!({ "replicas": 3 }));
    cluster.eventually("it looks again", |state| replicas(state, "deployments", "logger") == 3).await;
    assert!(cluster.state().get("services", "broker").is_none(), "nothing of it is written");
    edit(&cluster, |stack| stack["spec"]["services"]["broker"]["paused"] = false.into());
    cluster
        .eventually("it is put right", |state| {
            let broker = state.get("deployments", "broker").unwrap().to_string();
            broker.contains(r#""name":"A""#)
                && state.get("services", "broker").is_some()
                && state.is_ready("shop")
        })
        .await;
    assert_eq!(cluster.state().condition("shop", "Paused"), None);
}

#[tokio::test]
async fn of_a_paused_stack_nothing_is_written_but_its_status() {
    let (cluster, _operator) = ready(full()).await;
    edit(&cluster, |stack| stack["spec"]["paused"] = true.into());
    cluster.eventually("it is paused", |state| is_paused(state, "True")).await;
    let since = cluster.act(|state| {
        state.delete(&Id::shop("deployments", "mail"));
        state.edit("deployments", "logger", |object| object["spec"]["replicas"] = 9.into());
        state.delete(&Id::shop("secrets", "rabbitmq"));
        state.writes.len()
    });
    edit(&cluster, |stack| stack["spec"]["version"] = "0.2.0".into());
    cluster
        .eventually("it says what is not as it should be", |state| {
            is_paused(state, "False")
                && state.condition("shop", "Ready").is_some_and(|(_, _, message)| message.contains("mail"))
        })
        .await;
    let told = |write: &String| write.starts_with("post events/") || write == "apply stacks/shop/status";
    assert!(
        cluster.state().writes[since..].iter().all(told),
        "{:?}",
        cluster.state().writes[since..].to_vec()
    );
    edit(&cluster, |stack| stack["spec"]["paused"] = false.into());
    cluster
        .eventually("it is put right", |state| {
            state.get("deployments", "mail").is_some()
                && replicas(state, "deployments", "logger") == 1
                && state.get("secrets", "rabbitmq").is_some()
                && state.is_ready("shop")
        })
        .await;
}

const ENTRY: [&str; 3] = ["broker", "frontend", "listener"];
const BEHIND: [&str; 3] = ["authentication", "logger", "mail"];
const STORES: [&str; 3] = ["mongodb", "postgres", "rabbitmq"];

/// When each was first scaled to zero.
fn stopped_at(state: &State, plural: &str, name: &str) -> Option<u64> {
    let id = Id::shop(plural, name);
    let zero = |(_, of, event): &&(u64, Id, Value)| *of == id && event["object"]["spec"]["replicas"] == 0;
    state.history.iter().find(zero).map(|(revision, ..)| *revision)
}

#[tokio::test]
async fn a_stack_stops_from_its_edge_to_its_stores_and_starts_as_it_was() {
    let (cluster, _operator) = ready(full()).await;
    edit(&cluster, |stack| stack["spec"]["stopped"] = true.into());
    cluster
        .eventually("everything is at zero", |state| {
            STORES.iter().all(|name| replicas(state, "statefulsets", name) == 0)
                && state
                    .condition("shop", "Ready")
                    .is_some_and(|(status, reason, _)| status == "True" && reason == "Stopped")
        })
        .await;
    {
        let state = cluster.state();
        let when = |plural: &str, names: &[&str]| -> Vec<u64> {
            names.iter().map(|name| stopped_at(&state, plural, name).unwrap()).collect()
        };
        let (entry, behind) = (when("deployments", &ENTRY), when("deployments", &BEHIND));
        let stores =
            [when("statefulsets", &STORES), when("deployments", &["jaeger", "mailcatcher"])].concat();
        assert!(entry.iter().max() < behind.iter().min(), "{entry:?} {behind:?}");
        assert!(behind.iter().max() < stores.iter().min(), "{behind:?} {stores:?}");
        assert_eq!(state.get("stacks", "shop").unwrap()["status"]["services"][0]["desired"], 0);
        assert!(state.get("secrets", "postgres").is_some());
    }
    edit(&cluster, |stack| stack["spec"]["stopped"] = false.into());
    cluster
        .eventually("it is back", |state| {
            replicas(state, "deployments", "broker") == 2
                && STORES.iter().all(|name| replicas(state, "statefulsets", name) == 1)
                && state.condition("shop", "Ready").is_some_and(|(_, reason, _)| reason == "Ready")
        })
        .await;
}

#[tokio::test]
async fn a_store_does_not_stop_before_the_last_pod_that_uses_it() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(|state| {
        // One that is still ending: its Deployment counts it no more.
        let labels = json!({ "app.kubernetes.io/name": "listener", "weft.dev/stack": "shop", "app.kubernetes.io/managed-by": "weft-operator" });
        let ending = json!({ "metadata": { "labels": labels, "deletionTimestamp": "2026-01-01T00:00:00Z" } });
        state.put(&Id::shop("pods", "listener-old"), ending);
    });
    edit(&cluster, |stack| stack["spec"]["stopped"] = true.into());
    let waits = |state: &State| {
        ENTRY.iter().all(|name| replicas(state, "deployments", name) == 0)
            && state.condition("shop", "Reconciling").is_some_and(|(status, reason, message)| {
                status == "True" && reason == "Stopping" && message.contains("logger: stops when")
            })
    };
    cluster.eventually("it waits", waits).await;
    assert!(BEHIND.iter().all(|name| replicas(&cluster.state(), "deployments", name) != 0));
    cluster.act(|state| state.delete(&Id::shop("pods", "listener-old")));
    let zero = |state: &State| STORES.iter().all(|name| replicas(state, "statefulsets", name) == 0);
    cluster.eventually("it goes on", zero).await;
}

#[tokio::test]
async fn a_stack_is_not_ready_while_a_former_pod_ends() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(|state| {
        let labels = json!({ "app.kubernetes.io/name": "broker", "weft.dev/stack": "shop", "app.kubernetes.io/managed-by": "weft-operator" });
        let ending = json!({ "metadata": { "labels": labels, "deletionTimestamp": "2026-01-01T00:00:00Z" } });
        state.put(&Id::shop("pods", "broker-old"), ending);
    });
    edit(&cluster, |stack| stack["spec"]["version"] = "0.2.0".into());
    let waits = |state: &State| {
        state.get("stacks", "shop").unwrap()["status"]["observedGeneration"] == 2
            && state.condition("shop", "Ready").is_some_and(|(status, _, message)| {
                status == "False" && message == "broker: a former pod is still ending"
            })
    };
    cluster.eventually("all new pods are ready, but one of the former is left", waits).await;
    cluster.act(|state| state.delete(&Id::shop("pods", "broker-old")));
    cluster.eventually("it is gone", |state| state.is_ready("shop")).await;
}

/// A Job of the user's that reaches a store has labels of the Stack, and is none of its pods.
#[tokio::test]
async fn a_pod_that_only_reaches_a_store_holds_nothing_up() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(|state| {
        let labels = json!({ "weft.dev/stack": "shop", "weft.dev/client-of": "mongodb" });
        let dump = json!({ "metadata": { "labels": labels }, "status": { "phase": "Running" } });
        state.put(&Id::shop("pods", "dump"), dump);
    });
    edit(&cluster, |stack| stack["spec"]["version"] = "0.2.0".into());
    let next = |state: &State| {
        state.is_ready("shop") && state.get("stacks", "shop").unwrap()["status"]["version"] == "0.2.0"
    };
    cluster.eventually("it is another version", next).await;
    edit(&cluster, |stack| stack["spec"]["stopped"] = true.into());
    let stopped = |state: &State| {
        state
            .condition("shop", "Ready")
            .is_some_and(|(status, reason, _)| status == "True" && reason == "Stopped")
    };
    cluster.eventually("it is stopped", stopped).await;
}

/// A volume as the cluster makes it for a store.
pub(crate) fn claims(state: &mut State) {
    for store in STORES {
        let labels = json!({ "weft.dev/data": "true", "weft.dev/stack": "shop" });
        let id = Id::shop("persistentvolumeclaims", &format!("data-{store}-0"));
        state.put(&id, json!({ "metadata": { "labels": labels, "ownerReferences": null } }));
    }
}

/// What carries the Stack's owner reference, of what holds data or opens it.
pub(crate) fn owned(state: &State) -> usize {
    let uid = state.get("stacks", "shop").unwrap()["metadata"]["uid"].clone();
    let owned = |object: &Value| {
        object["metadata"]["ownerReferences"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one["uid"] == uid))
    };
    let data = state.objects.iter().filter(|(id, object)| {
        ["persistentvolumeclaims", "secrets"].contains(&id.0.as_str())
            && !object["metadata"]["labels"]["weft.dev/data"].is_null()
    });
    data.filter(|(_, object)| owned(object)).count()
}

pub(crate) fn allow(stack: &mut Value, allowed: bool) {
    let value = if allowed { json!("true") } else { json!("false") };
    stack["metadata"]["annotations"] = json!({ "weft.dev/allow-data-deletion": value });
}

#[tokio::test]
async fn data_goes_with_its_stack_only_where_that_is_said_twice() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(claims);
    edit(&cluster, |stack| stack["spec"]["deletionPolicy"] = "Delete".into());
    let told = |wanted: &'static str| {
        move |state: &State| {
            state.condition("shop", "DataDeletion").is_some_and(|(_, reason, _)| reason == wanted)
        }
    };
    cluster.eventually("the annotation is missing", told("NotAllowed")).await;
    assert_eq!(owned(&cluster.state()), 0);
    edit(&cluster, |stack| allow(stack, true));
    cluster.eventually("both are there", |state| owned(state) == 10 && told("Allowed")(state)).await;
    edit(&cluster, |stack| allow(stack, false));
    cluster.eventually("the annotation is withdrawn", |state| owned(state) == 0).await;
    edit(&cluster, |stack| allow(stack, true));
    cluster.eventually("both are there again", |state| owned(state) == 10).await;
    edit(&cluster, |stack| stack["spec"]["deletionPolicy"] = "Retain".into());
    cluster.eventually("the policy is withdrawn", |state| owned(state) == 0 && state.is_ready("shop")).await;
    let state = cluster.state();
    assert_eq!((state.told("DataOwned").len(), state.told("DataReleased").len()), (2, 2));
}

type Edit = fn(&mut Value);

/// What holds up the rest of a pass.
const HOLD_UPS: [(&str, Edit); 4] = [
    ("paused", |stack| stack["spec"]["paused"] = true.into()),
    ("an unknown version", |stack| stack["spec"]["version"] = "9.9.9".into()),
    ("unreadable", |stack| stack["spec"]["version"] = 7.into()),
    ("a Secret that is missing", |stack| {
        stack["spec"]["stores"]["smtp"] = json!({ "external": {
            "host": "mail.example.com", "secretRef": { "name": "missing" },
        } });
    }),
];

#[tokio::test]
async fn data_is_released_whatever_holds_up_the_rest() {
    for (what, hold_up) in HOLD_UPS {
        let (cluster, _operator) = ready(full()).await;
        cluster.act(claims);
        edit(&cluster, |stack| {
            allow(stack, true);
            stack["spec"]["deletionPolicy"] = "Delete".into();
        });
        let allowed = |state: &State| {
            let told = state.condition("shop", "DataDeletion");
            owned(state) == 10
                && told.is_some_and(|(status, reason, _)| status == "True" && reason == "Allowed")
        };
        cluster.eventually("data is the Stack's", allowed).await;
        edit(&cluster, hold_up);
        let held = |state: &State| {
            let stack = state.get("stacks", "shop").unwrap();
            stack["status"]["observedGeneration"] == stack["metadata"]["generation"]
        };
        cluster.eventually(what, held).await;
        edit(&cluster, |stack| allow(stack, false));
        cluster.eventually("the annotation is withdrawn", |state| owned(state) == 0).await;
        let told = |state: &State| {
            state.condition("shop", "DataDeletion").is_none_or(|(status, ..)| status == "False")
        };
        cluster.eventually("the condition says so", told).await;
        cluster.act(|state| state.delete(&Id::shop("stacks", "shop")));
        assert_eq!(cluster.state().names("persistentvolumeclaims").len(), 3, "{what}");
    }
}

#[tokio::test]
async fn data_of_a_stack_that_a_finalizer_keeps_is_released() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(claims);
    edit(&cluster, |stack| {
        allow(stack, true);
        stack["spec"]["deletionPolicy"] = "Delete".into();
    });
    cluster.eventually("data is the Stack's", |state| owned(state) == 10).await;
    edit(&cluster, |stack| {
        stack["metadata"]["finalizers"] = json!(["example.com/backup"]);
        stack["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        allow(stack, false);
    });
    cluster.eventually("the annotation is withdrawn", |state| owned(state) == 0).await;
}

/// A policy that nothing carries out is not told as if it were.
#[tokio::test]
async fn a_paused_stack_does_not_say_that_data_is_deleted_with_it() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(claims);
    edit(&cluster, |stack| {
        stack["spec"]["paused"] = true.into();
        stack["spec"]["deletionPolicy"] = "Delete".into();
        allow(stack, true);
    });
    let pending = |state: &State| {
        let told = state.condition("shop", "DataDeletion");
        told.is_some_and(|(status, reason, _)| status == "False" && reason == "Pending")
    };
    cluster.eventually("it says so", pending).await;
    assert_eq!(owned(&cluster.state()), 0);
    edit(&cluster, |stack| stack["spec"]["paused"] = false.into());
    cluster.eventually("data is the Stack's", |state| owned(state) == 10).await;
}

#[tokio::test]
async fn what_is_to_be_deleted_is_and_what_is_not_is_found_again() {
    for deleted in [false, true] {
        let (cluster, _operator) = ready(full()).await;
        cluster.act(claims);
        edit(&cluster, |stack| {
            allow(stack, true);
            stack["spec"]["deletionPolicy"] = (if deleted { "Delete" } else { "Retain" }).into();
        });
        cluster
            .eventually("it is as it should be", |state| owned(state) == if deleted { 10 } else { 0 })
            .await;
        cluster.act(|state| state.delete(&Id::shop("stacks", "shop")));
        let left = cluster.act(|state| state.names("persistentvolumeclaims").len());
        assert_eq!(left, if deleted { 0 } else { 3 });
        let before = cluster.act(|state| {
            let before = state.get("secrets", "postgres").map(|secret| secret["data"].clone());
            let (id, object) = stack("shop", full());
            state.put(&id, object);
            before
        });
        cluster.eventually("it is back", |state| state.is_ready("shop")).await;
        let now = cluster.state().get("secrets", "postgres").map(|secret| secret["data"].clone());
        assert_eq!(now == before, !deleted, "passwords are found again where the data is");
    }
}

/// An owner reference makes it the Stack's, and without its label it looks like something to prune.
#[tokio::test]
async fn data_is_never_pruned_even_without_its_label() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(claims);
    edit(&cluster, |stack| {
        allow(stack, true);
        stack["spec"]["deletionPolicy"] = "Delete".into();
    });
    cluster.eventually("it is the Stack's", |state| owned(state) == 10).await;
    cluster.act(|state| {
        state.edit("secrets", "postgres", |secret| {
            secret["metadata"]["labels"].as_object_mut().unwrap().remove("weft.dev/data");
        });
    });
    edit(&cluster, |stack| stack["spec"]["version"] = "0.2.0".into());
    let next = |state: &State| {
        state.is_ready("shop") && state.get("stacks", "shop").unwrap()["status"]["version"] == "0.2.0"
    };
    cluster.eventually("passes went over it", next).await;
    assert!(cluster.state().get("secrets", "postgres").is_some());
}

#[tokio::test]
async fn what_changes_is_told_once() {
    let (cluster, _operator) = ready(full()).await;
    {
        let state = cluster.state();
        let created = state.told("Created").concat();
        for made in ["Deployment broker", "StatefulSet postgres", "Secret rabbitmq", "ServiceAccount mail"] {
            assert!(created.contains(made), "{made}: {created}");
        }
        assert_eq!((state.told("Ready").len(), state.told("Healed").len()), (1, 0));
        let event = state.objects.iter().find(|(id, _)| id.0 == "events").unwrap().1;
        assert_eq!(event["regarding"]["kind"], "Stack");
        assert_eq!(event["regarding"]["uid"], state.get("stacks", "shop").unwrap()["metadata"]["uid"]);
        assert!(event["note"].as_str().unwrap().len() <= 1024 && event["eventTime"].is_string());
    }
    cluster.act(|state| state.delete(&Id::shop("services", "logger")));
    cluster
        .eventually("it is healed", |state| {
            state.told("Healed") == ["put back what someone else changed or deleted: Service logger"]
        })
        .await;
    edit(&cluster, |stack| stack["spec"]["services"]["frontend"] = json!({ "enabled": false }));
    cluster
        .eventually("it is pruned", |state| state.told("Pruned").concat().contains("Deployment frontend"))
        .await;
    edit(&cluster, |stack| stack["spec"]["version"] = "9.9.9".into());
    cluster.eventually("it is stalled", |state| !state.told("UnknownVersion").is_empty()).await;
    edit(&cluster, |stack| stack["spec"]["version"] = "0.1.0".into());
    cluster
        .eventually("it recovers", |state| !state.told("Recovered").is_empty() && state.is_ready("shop"))
        .await;
    let changed = ["changed NetworkPolicy jaeger"];
    assert_eq!(cluster.state().told("Changed"), changed, "nobody is there who would call it; else nothing");
}
