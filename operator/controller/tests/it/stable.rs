//! Nothing is written when nothing has changed, and nothing rolls that was not asked to.

use std::sync::Arc;

use kube::runtime::reflector::ObjectRef;
use serde_json::json;
use weft_operator::reconcile::reconcile;

use crate::harness::{Operator, full, ready};

#[tokio::test]
async fn a_stable_stack_causes_no_writes_however_often_it_is_looked_at() {
    let (cluster, operator) = ready(full()).await;
    let stack = operator.context.cache.stacks.get(&ObjectRef::new("shop").within("shop"));
    let mut stack = stack.unwrap();
    // The watch may be behind: what counts is that the writes end.
    let mut before = usize::MAX;
    for _ in 0..100 {
        let writes = cluster.state().writes.len();
        if writes == before {
            break;
        }
        before = writes;
        reconcile(Arc::clone(&stack), Arc::clone(&operator.context)).await.unwrap();
        stack = operator.context.cache.stacks.get(&ObjectRef::new("shop").within("shop")).unwrap();
    }
    for _ in 0..50 {
        reconcile(Arc::clone(&stack), Arc::clone(&operator.context)).await.unwrap();
    }
    assert_eq!(cluster.state().writes[before..], [] as [String; 0]);
}

#[tokio::test]
async fn a_restarted_operator_changes_nothing() {
    let (cluster, operator) = ready(full()).await;
    operator.stop().await;
    let (revision, writes) = cluster.act(|state| (state.revision, state.writes.len()));
    let again = Operator::start(&cluster).await;
    let stack = again.context.cache.stacks.get(&ObjectRef::new("shop").within("shop")).unwrap();
    reconcile(stack, Arc::clone(&again.context)).await.unwrap();
    again.stop().await;
    assert_eq!(cluster.state().writes[writes..], [] as [String; 0]);
    assert_eq!(cluster.state().revision, revision);
}

#[tokio::test]
async fn a_changed_secret_rolls_the_pods_that_use_it_and_no_others() {
    let (cluster, _operator) = ready(full()).await;
    let generation = |name: &str| {
        let name = name.to_owned();
        cluster.act(move |state| {
            state.get("deployments", &name).unwrap()["metadata"]["generation"].as_i64().unwrap()
        })
    };
    let (broker, logger) = (generation("broker"), generation("logger"));
    cluster.act(|state| {
        state.edit("secrets", "rabbitmq", |secret| secret["data"]["uri"] = "YW1xcDovL290aGVy".into());
    });
    cluster
        .eventually("broker and listener roll", |state| {
            let rolled = |name: &str| {
                state.get("deployments", name).unwrap()["metadata"]["generation"] == json!(broker + 1)
            };
            rolled("broker") && rolled("listener") && state.is_ready("shop")
        })
        .await;
    assert_eq!(generation("logger"), logger);
}

#[tokio::test]
async fn a_label_on_a_secret_rolls_nothing() {
    let (cluster, _operator) = ready(full()).await;
    let before =
        cluster.act(|state| state.get("deployments", "broker").unwrap()["metadata"]["generation"].clone());
    cluster.act(|state| {
        state.edit("secrets", "rabbitmq", |secret| secret["metadata"]["labels"]["team"] = "blue".into());
        // Something that is surely seen after it.
        state.edit("stacks", "shop", |stack| stack["spec"]["services"]["logger"] = json!({ "replicas": 3 }));
    });
    cluster
        .eventually("the logger is scaled", |state| {
            state.get("deployments", "logger").unwrap()["spec"]["replicas"] == 3 && state.is_ready("shop")
        })
        .await;
    assert_eq!(cluster.state().get("deployments", "broker").unwrap()["metadata"]["generation"], before);
}

#[tokio::test]
async fn a_stack_is_not_ready_while_a_pod_of_its_former_spec_serves() {
    let (cluster, _operator) = ready(full()).await;
    cluster.act(|state| {
        state.pods_run = false;
        state.edit("stacks", "shop", |stack| stack["spec"]["version"] = "0.2.0".into());
    });
    let waits = |state: &crate::fake::State| {
        let stack = state.get("stacks", "shop").unwrap();
        stack["status"]["observedGeneration"] == 2
            && !state.is_ready("shop")
            && stack["status"]["version"] == "0.1.0"
    };
    cluster.eventually("it waits for the new pods", waits).await;
    for updated in [1, 2] {
        cluster.act(|state| {
            let jobs: Vec<_> = state.names("jobs").into_iter().map(str::to_owned).collect();
            for job in jobs {
                state.end_job(&job, "shop", "Complete");
            }
            for name in ["broker", "authentication", "logger", "mail", "listener", "frontend"] {
                state.edit("deployments", name, |object| {
                    let wanted = object["spec"]["replicas"].as_i64().unwrap();
                    // All new pods are ready, but at first one of the former is left.
                    object["status"] = json!({
                        "observedGeneration": object["metadata"]["generation"], "updatedReplicas": wanted,
                        "readyReplicas": wanted, "replicas": if updated == 1 { wanted + 1 } else { wanted },
                    });
                });
            }
        });
        if updated == 1 {
            let told = |state: &crate::fake::State| {
                state.condition("shop", "Ready").is_some_and(|(status, _, message)| {
                    status == "False" && message.contains("broker: pods of its former spec still ending: 1")
                })
            };
            cluster.eventually("it says what it waits for", told).await;
        }
    }
    let done = |state: &crate::fake::State| {
        state.is_ready("shop") && state.get("stacks", "shop").unwrap()["status"]["version"] == "0.2.0"
    };
    cluster.eventually("it is ready at the new version", done).await;
}
