//! Rotates the credentials of every managed store under load. No call may fail, and the former credentials must be refused.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weft_devcluster::{Calls, condition};
use weft_e2e::{calls, until};

use crate::place::{MAIN, Place, READY_WITHIN, STACK};

/// Low, because the cluster runs on the same two cores.
const PER_SECOND: u32 = 25;
const BETWEEN: u64 = 50;
/// A store, the service that owns it, and the setting with the URI.
const STORES: [(&str, &str, &str); 3] = [
    ("mongodb", "logger", "MONGODB_URI"),
    ("postgres", "authentication", "DATABASE_URL"),
    ("rabbitmq", "listener", "AMQP_URI"),
];

pub(crate) async fn new_credentials_fail_no_call_and_revoke_the_former(place: &Place) -> Result<()> {
    replicas(place, json!(2)).await?;
    // Twice, because the first user of a store is removed differently from later ones.
    for at in ["2026-11-25T15:00:00Z", "2026-11-25T16:00:00Z"] {
        let former = former(place).await?;
        let calls = calls(place.broker()?, PER_SECOND);
        let under_load = under_load(place, &calls, &former, at).await;
        let (answered, failed) = calls.finish().await?;
        eprintln!("rotates: {answered} answered, {} failed", failed.len());
        under_load?;
        ensure!(failed.is_empty(), "{} calls failed, {answered} succeeded: {failed:#?}", failed.len());
        for former in &former {
            is_refused(place, former).await?;
        }
    }
    replicas(place, Value::Null).await
}

/// Credentials of a store before the rotation.
struct Former {
    store: &'static str,
    owner: &'static str,
    setting: &'static str,
    uri: String,
}

/// Reads the credentials of each store with passwords. FerretDB, which the local node runs, has none.
async fn former(place: &Place) -> Result<Vec<Former>> {
    let mut found = Vec::new();
    for (store, owner, setting) in STORES {
        let uri = place.secret(MAIN, store, "uri").await?;
        if uri.contains('@') {
            found.push(Former { store, owner, setting, uri });
        }
    }
    ensure!(found.len() >= 2, "{} stores with passwords", found.len());
    Ok(found)
}

async fn under_load(place: &Place, calls: &Calls, former: &[Former], at: &str) -> Result<()> {
    calls.advance(BETWEEN, READY_WITHIN).await?;
    let stores = STORES.map(|(store, ..)| (store.to_owned(), json!({"managed": {"rotatedAt": at}})));
    let stores: serde_json::Map<_, _> = stores.into_iter().collect();
    place.patch(&json!({"stores": stores})).await?;
    until("new credentials of all stores", READY_WITHIN, async || {
        let stack = place.found_stack(STACK, MAIN).await?;
        let rotated = condition(&stack, "CredentialsRotated").context("no condition CredentialsRotated")?;
        let done = ["Rotated", "NoPasswords"].iter().any(|reason| rotated["reason"] == *reason);
        ensure!(done, "{}: {}", rotated["reason"], rotated["message"]);
        for Former { store, uri: former, .. } in former {
            ensure!(place.secret(MAIN, store, "uri").await? != *former, "{store} still has the former URI");
        }
        Ok(())
    })
    .await?;
    place.ready().await?;
    calls.advance(BETWEEN, READY_WITHIN).await
}

/// Checks that the store refuses the former credentials, with a pod like the Job of a rotation.
async fn is_refused(place: &Place, former: &Former) -> Result<()> {
    let Former { store, owner, setting, uri } = former;
    let pods = place.pods(MAIN, owner).await?;
    let image =
        pods.first().with_context(|| format!("no pod of {owner}"))?["spec"]["containers"][0]["image"].clone();
    let name = format!("former-{store}");
    let security = json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let container = json!({
        "name": "try", "image": image, "args": ["credentials", "retire"], "securityContext": security,
        "env": [{"name": *setting, "value": uri}, {"name": "CREDENTIALS_USERNAME", "value": "nobody"}],
    });
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": MAIN,
            "labels": {"weft.dev/stack": STACK, "weft.dev/client-of": store},
        },
        "spec": {
            "restartPolicy": "Never", "automountServiceAccountToken": false, "containers": [container],
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        },
    });
    let kubectl = place.kubectl();
    kubectl.apply(&pod.to_string()).await?;
    until(&format!("{name} to end"), READY_WITHIN, async || {
        let pod = kubectl.json(&["--namespace", MAIN, "get", "pod", &name]).await?;
        ensure!(pod["status"]["phase"] == "Failed", "the pod is {}", pod["status"]["phase"]);
        Ok(())
    })
    .await?;
    let log = kubectl.run(&["--namespace", MAIN, "logs", &name]).await?;
    kubectl.run(&["--namespace", MAIN, "delete", "pod", &name]).await?;
    ensure!(log.contains(&format!("refuses the credentials in {setting}")), "{store}: {log}");
    Ok(())
}

async fn replicas(place: &Place, wanted: Value) -> Result<()> {
    let services =
        ["broker", "authentication", "logger"].map(|name| (name.to_owned(), json!({"replicas": wanted})));
    let services: serde_json::Map<_, _> = services.into_iter().collect();
    place.patch(&json!({"services": services})).await?;
    place.ready().await
}
