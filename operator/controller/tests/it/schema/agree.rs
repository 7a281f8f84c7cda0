//! Makes the parts of a generated spec agree with each other, as the rules of the definition want it, so that few are refused.

use serde_json::{Value, json};

const SERVICES: [&str; 6] = ["broker", "logger", "listener", "authentication", "mail", "frontend"];

pub(super) fn agreed(mut spec: Value) -> Value {
    // A paused Stack has no objects.
    remove(&mut spec, "paused");
    for store in ["mongodb", "rabbitmq", "postgres"] {
        one_of(&mut spec["stores"], store, "managed", "external");
    }
    one_of(&mut spec["stores"], "smtp", "catcher", "external");
    one_of(&mut spec, "tracing", "managed", "otlp");
    if spec["stores"]["smtp"]["external"].is_object() && spec["mail"]["from"].is_null() {
        spec["mail"]["from"] = json!({ "address": "shop@example.com" });
    }
    if spec["admin"]["secretRef"].is_object() {
        remove(&mut spec["admin"], "email");
    }
    let names: Vec<String> =
        spec["workloads"].as_array().into_iter().flatten().map(|one| text(&one["name"])).collect();
    let callers: Vec<String> = SERVICES.into_iter().map(str::to_owned).chain(names).collect();
    for service in SERVICES {
        remove(&mut spec["services"][service], "paused");
        run(&mut spec["services"][service], &callers);
    }
    for workload in items(&mut spec["workloads"]) {
        run(workload, &callers);
        of_workload(workload);
    }
    routes(&mut spec);
    without_nulls(&mut spec);
    spec
}

/// What services and workloads have in common.
fn run(run: &mut Value, callers: &[String]) {
    if run["autoscaling"].is_object() {
        remove(run, "replicas");
        let scaling = &mut run["autoscaling"];
        if scaling["minReplicas"].as_i64() > scaling["maxReplicas"].as_i64() {
            remove(scaling, "minReplicas");
        }
    }
    for toleration in items(&mut run["tolerations"]) {
        if toleration["key"].is_null() {
            toleration["operator"] = "Exists".into();
        }
        if toleration["operator"] == "Exists" {
            remove(toleration, "value");
        }
        if !toleration["tolerationSeconds"].is_null() {
            toleration["effect"] = "NoExecute".into();
        }
    }
    for (index, caller) in items(&mut run["allowFrom"]).iter_mut().enumerate() {
        *caller = callers[(text(caller).len() + index * 5) % callers.len()].clone().into();
    }
    if let Some(list) = run["allowFrom"].as_array_mut() {
        list.sort_by_key(Value::to_string);
        list.dedup();
    }
}

fn of_workload(workload: &mut Value) {
    if workload["port"].is_null() {
        for field in ["protocol", "allowFrom", "probes"] {
            remove(workload, field);
        }
    }
    for probe in workload["probes"].as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
        if probe["type"] != "http" {
            remove(probe, "path");
        }
    }
    for source in items(&mut workload["envFrom"]) {
        match source["secretRef"].is_object() {
            true => remove(source, "configMapRef"),
            false if source["configMapRef"].is_null() => {
                source["configMapRef"] = json!({ "name": "letters-one" })
            }
            false => {}
        }
    }
}

/// Each leads to a workload that can be led to.
fn routes(spec: &mut Value) {
    let speaks_http = |one: &&Value| !one["port"].is_null() && one["protocol"] != "grpc";
    let to =
        spec["workloads"].as_array().into_iter().flatten().find(speaks_http).map(|one| one["name"].clone());
    match to {
        Some(to) => items(&mut spec["routes"]).iter_mut().for_each(|route| route["to"] = to.clone()),
        None => remove(spec, "routes"),
    }
}

/// Leaves one of two fields of an object, or no object.
fn one_of(parent: &mut Value, name: &str, one: &str, other: &str) {
    let found = &mut parent[name];
    match (found[one].is_null(), found[other].is_null()) {
        (true, true) => remove(parent, name),
        (false, false) => remove(found, other),
        _ => {}
    }
}

fn items(list: &mut Value) -> &mut [Value] {
    list.as_array_mut().map_or(&mut [], Vec::as_mut_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn remove(object: &mut Value, field: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(field);
    }
}

/// Indexing for writing has put nulls where nothing was.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}
