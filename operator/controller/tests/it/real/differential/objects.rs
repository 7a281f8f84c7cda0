//! Parts of requests, right ones.

use serde_json::{Value, json};

pub(super) fn deployment(spec: Value) -> Value {
    let selector = json!({ "matchLabels": { "app": "one" } });
    let mut object = json!({ "spec": { "selector": selector, "template": template(), "replicas": 2 } });
    merge(&mut object["spec"], spec);
    object
}

pub(super) fn labelled(field: &str, value: Value) -> Value {
    let mut object = deployment(json!({}));
    object["metadata"] = json!({ field: value });
    object
}

pub(super) fn template() -> Value {
    let container = json!({ "name": "one", "image": "one:1" });
    let volumes = json!([{ "name": "tmp", "emptyDir": {} }]);
    json!({ "metadata": { "labels": { "app": "one" } }, "spec": { "containers": [container], "volumes": volumes } })
}

/// As every reader of a status wants it.
pub(super) fn ready() -> Value {
    let conditions =
        [("Ready", "True"), ("Reconciling", "False"), ("Stalled", "False")].map(|(type_, status)| {
            json!({
                "type": type_, "status": status, "reason": "Ready", "message": "ready",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            })
        });
    json!({ "observedGeneration": 1, "conditions": conditions })
}

pub(super) fn claim(amount: &str) -> Value {
    let spec =
        json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": amount } } });
    json!({ "metadata": { "name": "data" }, "spec": spec })
}

pub(super) fn service() -> Value {
    json!({ "spec": { "selector": { "app": "one" }, "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }] } })
}

pub(super) fn merge(object: &mut Value, more: Value) {
    match (object, more) {
        (Value::Object(fields), Value::Object(more)) => {
            for (key, value) in more {
                merge(fields.entry(key).or_insert(Value::Null), value);
            }
        }
        (object, more) => *object = more,
    }
}
