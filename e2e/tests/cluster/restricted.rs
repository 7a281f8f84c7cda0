//! Checks that running pods comply with the `restricted` profile.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::place::{MAIN, Place};

const STORES: [&str; 2] = ["mongodb", "rabbitmq"];
const APPS: [&str; 11] = [
    "broker",
    "authentication",
    "logger",
    "mail",
    "listener",
    "frontend",
    "mongodb",
    "rabbitmq",
    "postgres",
    "mailcatcher",
    "jaeger",
];

pub(crate) async fn every_container_is_restricted(place: &Place) -> Result<()> {
    let pods = place.kubectl().list(MAIN, &["pods"]).await?;
    let apps: BTreeSet<&str> = pods.iter().filter_map(app).collect();
    ensure!(apps == BTreeSet::from(APPS), "unexpected pods: {apps:?}");
    for pod in &pods {
        check(pod).with_context(|| format!("pod {}", pod["metadata"]["name"]))?;
        let tokens = list(&pod["spec"]["volumes"]).flat_map(|volume| list(&volume["projected"]["sources"]));
        let token = tokens.into_iter().any(|source| !source["serviceAccountToken"].is_null());
        ensure!(!token, "pod {} has a ServiceAccount token", pod["metadata"]["name"]);
    }
    let operators = place.kubectl().list(place.release(), &["pods"]).await?;
    ensure!(!operators.is_empty(), "no pod of the operator");
    operators.iter().try_for_each(check)
}

fn app(pod: &Value) -> Option<&str> {
    pod["metadata"]["labels"]["app.kubernetes.io/name"].as_str()
}

fn check(pod: &Value) -> Result<()> {
    let spec = &pod["spec"];
    for shared in ["hostNetwork", "hostPID", "hostIPC"] {
        ensure!(spec[shared] != true, "{shared} is set");
    }
    ensure!(list(&spec["volumes"]).all(|volume| volume["hostPath"].is_null()), "it mounts a host path");
    let is_store = app(pod).is_some_and(|app| STORES.contains(&app));
    for container in list(&spec["initContainers"]).chain(list(&spec["containers"])) {
        check_container(&spec["securityContext"], container, is_store)
            .with_context(|| format!("container {}", container["name"]))?;
    }
    for container in list(&spec["containers"]) {
        ensure!(!container["readinessProbe"].is_null(), "{} has no readiness probe", container["name"]);
        ensure!(
            is_store || !container["livenessProbe"].is_null(),
            "{} has no liveness probe",
            container["name"]
        );
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            ensure!(container[probe]["exec"].is_null(), "{probe} of {} uses exec", container["name"]);
        }
    }
    Ok(())
}

fn check_container(of_pod: &Value, container: &Value, is_store: bool) -> Result<()> {
    let own = &container["securityContext"];
    let either = |field: &str| if own[field].is_null() { of_pod[field].clone() } else { own[field].clone() };
    ensure!(either("runAsNonRoot") == true, "it may run as root");
    ensure!(
        either("seccompProfile")["type"] == "RuntimeDefault",
        "its seccomp profile is {}",
        either("seccompProfile")
    );
    ensure!(own["allowPrivilegeEscalation"] == false, "it may gain privileges");
    ensure!(own["capabilities"]["drop"] == serde_json::json!(["ALL"]), "it keeps capabilities");
    ensure!(own["capabilities"]["add"].is_null(), "it adds capabilities");
    ensure!(own["privileged"] != true, "it is privileged");
    ensure!(is_store || own["readOnlyRootFilesystem"] == true, "its root file system can be written");
    let resources = &container["resources"];
    for (kind, what) in [("requests", "cpu"), ("requests", "memory"), ("limits", "memory")] {
        ensure!(!resources[kind][what].is_null(), "it has no {kind} of {what}");
    }
    Ok(())
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
