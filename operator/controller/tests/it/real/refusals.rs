//! Specs with which the API server would refuse an object: the Stack itself is refused, with the field's name, or the object is
//! built in a way that is accepted.

use serde_json::{Value, json};

use super::Space;

#[tokio::test]
async fn a_stack_is_refused_where_an_object_of_it_would_be() {
    let mut faults = Vec::new();
    for (field, spec) in wrong() {
        match Space::new().await.dry_run(&spec).await {
            Ok(_) => faults.push(format!("{field} is accepted: {spec}")),
            Err(refused) if refused.message.contains(field) => {}
            Err(refused) => faults.push(format!("{field} is not named: {}", refused.message)),
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[tokio::test]
async fn a_stack_that_says_half_of_something_is_built() {
    for spec in half() {
        let space = Space::new().await;
        let operator = space.operator().await;
        space.apply(&spec).await.unwrap();
        let stack = space.observed().await;
        operator.stop().await;
        space.assert_nothing_refused(&spec.to_string());
        assert!(!stack["status"].to_string().contains("ApplyFailed"), "{spec}: {}", stack["status"]);
    }
}

#[tokio::test]
async fn a_name_that_is_no_label_is_refused() {
    let spec = json!({ "version": "0.1.0" });
    Space::of(&"a".repeat(63)).await.dry_run(&spec).await.unwrap();
    let refused = Space::of(&"a".repeat(64)).await.dry_run(&spec).await.unwrap_err();
    assert!(refused.message.contains("63"), "{refused:?}");
}

/// What grows without its limit, what falls without its request, and a pull secret that the installation has too.
fn half() -> Vec<Value> {
    let workload = |field: &str, value: Value| {
        let mut workload = json!({ "name": "shop", "image": "shop:1" });
        workload[field] = value;
        json!({ "version": "0.1.0", "workloads": [workload] })
    };
    let resources = |value: Value| service("resources", value);
    vec![
        resources(json!({ "requests": { "memory": "512Mi" } })),
        resources(json!({ "requests": { "cpu": "3" } })),
        resources(json!({ "requests": { "cpu": 3 } })),
        resources(json!({ "limits": { "memory": "16Mi" } })),
        resources(json!({ "limits": { "cpu": "5m" } })),
        workload("resources", json!({ "requests": { "memory": "1.5G" } })),
        workload("imagePullSecrets", json!([{ "name": "registry-one" }, { "name": "registry-two" }])),
    ]
}

fn wrong() -> Vec<(&'static str, Value)> {
    let long = "a".repeat(64);
    let toleration = |value: Value| service("tolerations", json!([value]));
    let expose = |value: Value| json!({ "version": "0.1.0", "expose": value });
    let otlp =
        |endpoint: &str| json!({ "version": "0.1.0", "tracing": { "otlp": { "endpoint": endpoint } } });
    let storage = |amount: &str| json!({ "version": "0.1.0", "stores": { "mongodb": { "managed": { "storage": amount } } } });
    let pair = |resource: &str, request: &str, limit: &str| {
        service("resources", json!({ "requests": { resource: request }, "limits": { resource: limit } }))
    };
    vec![
        ("labels", service("labels", json!({ "team": "core team" }))),
        ("labels", service("labels", json!({ "team": "core-" }))),
        ("labels", service("labels", json!({ "the team": "core" }))),
        ("labels", service("labels", json!({ "": "core" }))),
        ("labels", service("labels", json!({ "Example.com/team": "core" }))),
        ("labels", service("labels", json!({ long.clone(): "core" }))),
        ("labels", service("labels", json!({ format!("{}/team", "a".repeat(254)): "core" }))),
        ("nodeSelector", service("nodeSelector", json!({ "disk": "very fast" }))),
        ("nodeSelector", service("nodeSelector", json!({ "the disk": "fast" }))),
        ("tolerations", toleration(json!({ "key": "the key" }))),
        ("tolerations", toleration(json!({ "key": long }))),
        ("tolerations", toleration(json!({ "key": "key", "value": "a value" }))),
        ("tolerations", toleration(json!({ "key": "key", "tolerationSeconds": 5 }))),
        ("tolerations", toleration(json!({ "key": "key", "effect": "NoSchedule", "tolerationSeconds": 5 }))),
        ("resources", pair("memory", "2Gi", "1G")),
        ("resources", pair("cpu", "1.5", "1499m")),
        ("storage", storage("0")),
        ("storage", storage("0.0Gi")),
        ("expose.host", expose(json!({ "host": "10.0.0.1" }))),
        ("expose.tls", expose(json!({ "host": "a.example", "tls": { "secretName": "a..b" } }))),
        ("expose.ingressClass", expose(json!({ "host": "a.example", "ingressClass": "a.-b" }))),
        ("tracing.otlp", otlp("http://a.example:0")),
        ("tracing.otlp", otlp("http://a.example:65536")),
        ("tracing.otlp", otlp("http://[::1]:99999/")),
    ]
}

fn service(field: &str, value: Value) -> Value {
    json!({ "version": "0.1.0", "services": { "logger": { field: value } } })
}
