//! Many Stacks, all alike, each in a namespace of its own; and what controllers and kubelets would do for them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Client, Write};

pub(super) const STACKS: &str = "/apis/weft.dev/v1alpha1/stacks";
/// Every kind that an operator of Stacks may own.
const KINDS: [&str; 12] = [
    "/api/v1/configmaps",
    "/api/v1/secrets",
    "/api/v1/serviceaccounts",
    "/api/v1/services",
    "/apis/apps/v1/controllerrevisions",
    "/apis/apps/v1/deployments",
    "/apis/apps/v1/statefulsets",
    "/apis/autoscaling/v2/horizontalpodautoscalers",
    "/apis/networking.k8s.io/v1/ingresses",
    "/apis/networking.k8s.io/v1/networkpolicies",
    "/apis/policy/v1/poddisruptionbudgets",
    "/apis/rbac.authorization.k8s.io/v1/roles",
];
/// Who knows how a store stands.
const OWNERS: [&str; 4] = ["authentication", "listener", "logger", "mail"];

pub(super) type Counts = BTreeMap<&'static str, u64>;

pub(super) fn namespace(number: usize) -> String {
    format!("bench-{number:04}")
}

pub(super) fn stack_path(number: usize) -> String {
    format!("/apis/weft.dev/v1alpha1/namespaces/{}/stacks/bench", namespace(number))
}

pub(super) fn namespaces(numbers: impl Iterator<Item = usize>) -> impl Iterator<Item = Write> {
    let object = |name: String| json!({ "metadata": { "name": name } });
    numbers.map(move |number| (Method::POST, "/api/v1/namespaces".to_owned(), object(namespace(number))))
}

/// Stacks with every service, managed stores and Jaeger.
pub(super) fn stacks(numbers: impl Iterator<Item = usize>) -> impl Iterator<Item = Write> {
    let object = json!({
        "apiVersion": "weft.dev/v1alpha1", "kind": "Stack", "metadata": { "name": "bench" },
        "spec": { "version": "0.1.0", "tracing": { "managed": {} } },
    });
    numbers.map(move |number| {
        let path = format!("/apis/weft.dev/v1alpha1/namespaces/{}/stacks", namespace(number));
        (Method::POST, path, object.clone())
    })
}

pub(super) async fn counts(client: &Client) -> Result<Counts> {
    let mut counts = Counts::new();
    for kind in KINDS {
        counts.insert(kind, client.count(kind).await?);
    }
    Ok(counts)
}

/// True when there is so much of each kind. The first that is not ends it: to count is work for the API server too.
pub(super) async fn counted(client: &Client, owed: &Counts) -> Result<bool> {
    for (kind, owed) in owed {
        if client.count(kind).await? != *owed {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What so many Stacks own, when one of them owns the difference of these.
pub(super) fn owed(before: &Counts, with_one: &Counts, stacks: usize) -> Result<Counts> {
    let stacks = u64::try_from(stacks)?;
    let owed = |kind: &&'static str| {
        let (before, with_one) = (before.get(kind)?, with_one.get(kind)?);
        Some((*kind, before + (with_one.checked_sub(*before)?) * stacks))
    };
    KINDS.iter().map(owed).collect::<Option<_>>().context("something was not counted")
}

/// True when each says something of its present generation.
pub(super) async fn all_observed(client: &Client, stacks: usize) -> Result<bool> {
    let observed = |stack: &Value| {
        let told = &stack["status"]["observedGeneration"];
        told.is_number() && *told == stack["metadata"]["generation"]
    };
    Ok(those(client, observed).await? == stacks)
}

pub(super) async fn ready(client: &Client) -> Result<usize> {
    let is_ready = |stack: &Value| {
        let conditions = stack["status"]["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    those(client, is_ready).await
}

async fn those(client: &Client, is: impl Fn(&Value) -> bool) -> Result<usize> {
    let list = client.get(STACKS).await?;
    let items = list["items"].as_array().context("no list of Stacks")?;
    Ok(items.iter().filter(|stack| is(stack)).count())
}

/// Makes everything of these Stacks ready, as controllers and kubelets would, and gives the owners of stores pods to ask.
pub(super) async fn play_the_rest(client: &Client, numbers: impl Iterator<Item = usize>) -> Result<()> {
    for number in numbers {
        let namespace = namespace(number);
        let mut writes = Vec::new();
        for kind in ["deployments", "statefulsets"] {
            let path = format!("/apis/apps/v1/namespaces/{namespace}/{kind}");
            let list = client.get(&path).await?;
            let items = list["items"].as_array().context("no list")?;
            ensure!(!items.is_empty(), "{namespace} has no {kind}");
            writes.extend(items.iter().filter_map(|object| ready_status(&path, object)));
        }
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        writes.extend(OWNERS.iter().map(|owner| (Method::POST, pods.clone(), pod(owner))));
        client.write_all(writes).await?;
        let addressed =
            OWNERS.iter().map(|owner| (Method::PATCH, format!("{pods}/{owner}/status"), address()));
        client.write_all(addressed).await?;
    }
    Ok(())
}

/// Ends every Job that makes a store's user, as the Job controller would.
pub(super) async fn end_jobs(client: &Client) -> Result<()> {
    let list = client.get("/apis/batch/v1/jobs").await?;
    let jobs = list["items"].as_array().context("no list of Jobs")?;
    let at = "2026-01-01T00:00:00Z";
    let conditions = ["SuccessCriteriaMet", "Complete"]
        .map(|kind| json!({ "type": kind, "status": "True", "lastTransitionTime": at }));
    let status = json!({ "startTime": at, "completionTime": at, "succeeded": 1, "conditions": conditions });
    let left = jobs.iter().filter(|job| job["status"]["completionTime"].is_null());
    let ended = left.filter_map(|job| {
        let (namespace, name) = (job["metadata"]["namespace"].as_str()?, job["metadata"]["name"].as_str()?);
        let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs/{name}/status");
        Some((Method::PATCH, path, json!({ "status": status })))
    });
    client.write_all(ended.collect::<Vec<_>>()).await
}

fn ready_status(path: &str, object: &Value) -> Option<Write> {
    let replicas = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let status = json!({
        "observedGeneration": object["metadata"]["generation"], "replicas": replicas, "updatedReplicas": replicas,
        "readyReplicas": replicas, "availableReplicas": replicas,
    });
    let name = object["metadata"]["name"].as_str()?;
    Some((Method::PATCH, format!("{path}/{name}/status"), json!({ "status": status })))
}

fn pod(owner: &str) -> Value {
    json!({
        "metadata": { "name": owner, "labels": { "app.kubernetes.io/name": owner, "weft.dev/stack": "bench" } },
        "spec": { "containers": [{ "name": owner, "image": "none" }], "automountServiceAccountToken": false },
    })
}

/// All pods are at this process, which answers for them.
fn address() -> Value {
    json!({ "status": { "phase": "Running", "podIP": "127.0.0.1", "podIPs": [{ "ip": "127.0.0.1" }] } })
}
