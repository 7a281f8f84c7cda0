//! Stores that run somewhere else.

use serde_json::{Value, json};
use weft_operator::names;
use weft_runtime::status::StoreStatus;

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
    assert_eq!(state.names("statefulsets"), ["postgres", "rabbitmq"]);
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
    cluster.act(|state| {
        state.edit("stacks", "shop", |stack| {
            stack["spec"] =
                json!({ "version": "0.1.0", "stores": { "mongodb": { "managed": { "leaveData": true } } } });
        });
    });
    let mut secrets = ["mongodb", "postgres", "rabbitmq"]
        .into_iter()
        .flat_map(|store| [store.to_owned(), names::superuser_secret(store)])
        .chain(["my-mongo", "shop-admin", "weft-authentication"].map(str::to_owned))
        .collect::<Vec<_>>();
    secrets.sort();
    cluster
        .eventually("the store is managed and the made Secret gone", |state| {
            state.is_ready("shop") && state.names("secrets") == secrets
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

fn away() -> StoreStatus {
    StoreStatus { message: Some("connection refused".to_owned()), ..StoreStatus::default() }
}

#[tokio::test]
async fn postgresql_of_ones_own_is_told_to_authentication() {
    let cluster = Cluster::default();
    cluster.act(|state| {
        state.pods_run = true;
        // postgres://u:p@db/people
        let data = json!({ "data": { "uri": "cG9zdGdyZXM6Ly91OnBAZGIvcGVvcGxl" } });
        state.put(&Id::shop("secrets", "my-postgres"), data);
        let external = json!({ "external": { "secretRef": { "name": "my-postgres" } } });
        let (id, object) = stack("shop", json!({ "version": "0.1.0", "stores": { "postgres": external } }));
        state.put(&id, object);
    });
    let _operator = Operator::start(&cluster).await;
    cluster.eventually("it is ready", |state| state.is_ready("shop")).await;
    let state = cluster.state();
    assert_eq!(state.names("statefulsets"), ["mongodb", "rabbitmq"]);
    let pod = &state.get("deployments", "authentication").unwrap()["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "my-postgres");
    assert!(state.condition("shop", "PostgreSQLReady").is_some_and(|(status, ..)| status == "True"));
}

#[tokio::test]
async fn a_mail_server_that_is_away_is_shown_and_holds_nothing_up() {
    let cluster = Cluster::default();
    cluster.act(|state| {
        state.pods_run = true;
        let spec = json!({
            "version": "0.1.0", "mail": { "from": { "address": "shop@example.com" } },
            "stores": { "smtp": { "external": { "host": "smtp.example.com" } } },
        });
        let (id, object) = stack("shop", spec);
        state.put(&id, object);
    });
    let operator = Operator::start(&cluster).await;
    cluster.eventually("it is ready", |state| state.is_ready("shop")).await;
    let smtp = |wanted: &'static str| {
        move |state: &crate::fake::State| {
            state.condition("shop", "SMTPReady").is_some_and(|(status, ..)| status == wanted)
                && state.is_ready("shop")
        }
    };
    cluster.eventually("the server is there", smtp("True")).await;
    let nudge = |replicas: i64| {
        cluster.act(|state| {
            state.edit("stacks", "shop", |stack| {
                stack["spec"]["services"] = json!({ "broker": { "replicas": replicas } });
            });
        });
    };
    operator.told.lock().unwrap().insert("smtp".to_owned(), away());
    nudge(2);
    cluster.eventually("it is away, and nothing waits for it", smtp("False")).await;
    let back = operator.told.lock().unwrap()["mongodb"].clone();
    operator.told.lock().unwrap().insert("smtp".to_owned(), back);
    nudge(3);
    cluster.eventually("it is back", smtp("True")).await;
}

#[tokio::test]
async fn templates_are_waited_for_and_their_change_rolls_mail() {
    let cluster = Cluster::default();
    cluster.act(|state| {
        state.pods_run = true;
        let spec = json!({ "version": "0.1.0", "mail": { "templates": { "configMap": "letters" } } });
        let (id, object) = stack("shop", spec);
        state.put(&id, object);
    });
    let _operator = Operator::start(&cluster).await;
    let waits = |state: &crate::fake::State| {
        state.condition("shop", "Reconciling").is_some_and(|(status, reason, message)| {
            status == "True" && reason == "ConfigMapMissing" && message.contains("letters")
        })
    };
    cluster.eventually("it is waited for", waits).await;
    let write = |text: &str| {
        cluster.act(|state| {
            state.put(&Id::shop("configmaps", "letters"), json!({ "data": { "message.txt": text } }));
            // Nobody watches it: the next look finds it changed.
            state
                .edit("stacks", "shop", |stack| stack["metadata"]["annotations"] = json!({ "looked": text }));
        });
    };
    let input = |state: &crate::fake::State| {
        state.get("deployments", "mail").unwrap()["spec"]["template"]["metadata"]["annotations"].clone()
    };
    write("one");
    cluster.eventually("it goes on", |state| state.is_ready("shop")).await;
    let before = input(&cluster.state());
    write("two");
    cluster.eventually("mail rolls", |state| input(state) != before && state.is_ready("shop")).await;
    assert!(cluster.state().get("configmaps", "letters").is_some(), "it is the user's, and never pruned");
}
