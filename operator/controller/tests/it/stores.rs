//! Stores that run somewhere else.

use serde_json::{Value, json};

use crate::fake::{Cluster, Id};
use crate::harness::{Operator, stack};

fn external() -> Value {
    json!({ "version": "0.1.0", "stores": { "mongodb": { "external": { "secretRef": { "name": "my-mongo" } } } } })
}

async fn start(data: Option<Value>) -> (Cluster, Operator) {
    let cluster = Cluster::default();
    cluster.act(|state| {
        state.pods_run = true;
        if let Some(data) = data {
            state.put(&Id::shop("secrets", "my-mongo"), json!({ "data": data }));
        }
        let (id, object) = stack("shop", external());
        state.put(&id, object);
    });
    let operator = Operator::start(&cluster).await;
    (cluster, operator)
}

fn mounted(state: &crate::fake::State) -> Value {
    let logger = state.get("deployments", "logger").unwrap();
    logger["spec"]["template"]["spec"]["volumes"][0]["secret"].clone()
}

#[tokio::test]
async fn a_uri_is_mounted_from_the_secret_itself() {
    let (cluster, _operator) = start(Some(json!({ "uri": "bW9uZ29kYjovL2Ri" }))).await;
    cluster.eventually("it is ready", |state| state.is_ready("shop")).await;
    let state = cluster.state();
    assert_eq!(mounted(&state)["secretName"], "my-mongo");
    assert_eq!(state.names("statefulsets"), ["rabbitmq"]);
    assert!(state.get("secrets", "mongodb").is_none());
}

#[tokio::test]
async fn a_uri_is_made_from_parts_and_goes_when_it_is_no_longer_needed() {
    let parts = json!({ "host": "ZGI=", "username": "dQ==", "password": "cA==" });
    let (cluster, _operator) = start(Some(parts)).await;
    cluster.eventually("it is ready", |state| state.is_ready("shop")).await;
    {
        let state = cluster.state();
        assert_eq!(mounted(&state)["secretName"], "mongodb-external");
        let made = state.get("secrets", "mongodb-external").unwrap();
        // mongodb://u:p@db:27017/
        assert_eq!(made["data"]["uri"], "bW9uZ29kYjovL3U6cEBkYjoyNzAxNy8=");
        assert!(made["metadata"]["ownerReferences"].is_array());
    }
    cluster.act(|state| state.edit("stacks", "shop", |stack| stack["spec"] = json!({ "version": "0.1.0" })));
    cluster
        .eventually("the store is managed and the made Secret gone", |state| {
            state.is_ready("shop") && state.names("secrets") == ["mongodb", "my-mongo", "rabbitmq"]
        })
        .await;
}

#[tokio::test]
async fn a_missing_secret_is_named_and_waited_for() {
    let (cluster, _operator) = start(None).await;
    cluster
        .eventually("the store's condition names it", |state| {
            state.condition("shop", "MongoDBReady").is_some_and(|(status, reason, message)| {
                status == "False" && reason == "SecretMissing" && message.contains("my-mongo")
            })
        })
        .await;
    let stalled = cluster.state().condition("shop", "Stalled").unwrap();
    assert_eq!(stalled.0, "False");
    cluster.act(|state| {
        state.put(&Id::shop("secrets", "my-mongo"), json!({ "data": { "uri": "bW9uZ29kYjovL2Ri" } }))
    });
    cluster.eventually("it goes on", |state| state.is_ready("shop")).await;
}
