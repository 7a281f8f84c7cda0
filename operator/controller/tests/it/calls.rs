//! A Stack is Ready only once the first call can succeed.

use serde_json::json;
use weft_runtime::status::StoreStatus;

use crate::fake::{Cluster, State};
use crate::harness::{Operator, stack};

const USABLE: StoreStatus =
    StoreStatus { reachable: true, authenticated: true, migrated: true, version: None, message: None };

fn waits_for(state: &State, callees: &str) -> bool {
    let expected = format!("broker: can't call {callees} yet");
    state
        .condition("shop", "Ready")
        .is_some_and(|(status, _, message)| status == "False" && message == expected)
}

#[tokio::test]
async fn a_stack_is_not_ready_before_every_broker_reaches_what_it_calls() {
    let cluster = Cluster::default();
    let operator = Operator::start(&cluster).await;
    let tell = |name: &str, status| operator.told.lock().unwrap().insert(name.to_owned(), status);
    tell("logger", StoreStatus::default());
    tell("authentication", StoreStatus::default());
    cluster.act(|state| {
        state.pods_run = true;
        let (id, object) = stack("shop", json!({ "version": "0.1.0" }));
        state.put(&id, object);
    });
    cluster
        .eventually("all pods are ready and no call gets through", |state| {
            waits_for(state, "authentication, logger")
        })
        .await;
    // No event tells that a connection is there: the brokers are asked again.
    tell("authentication", USABLE);
    cluster.eventually("one call gets through", |state| waits_for(state, "logger")).await;
    tell("logger", USABLE);
    cluster.eventually("all calls get through", |state| state.is_ready("shop")).await;
}

#[tokio::test]
async fn only_what_the_stack_runs_has_to_be_reached() {
    let cluster = Cluster::default();
    let operator = Operator::start(&cluster).await;
    operator.told.lock().unwrap().insert("authentication".to_owned(), StoreStatus::default());
    cluster.act(|state| {
        state.pods_run = true;
        let services = json!({ "authentication": { "enabled": false }, "mail": { "enabled": false } });
        let (id, object) = stack("shop", json!({ "version": "0.1.0", "services": services }));
        state.put(&id, object);
    });
    cluster.eventually("it is ready", |state| state.is_ready("shop")).await;
}
