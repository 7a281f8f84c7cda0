use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weft_e2e::{road, until};

use crate::place::{MAIN, Place};

const BACK_WITHIN: Duration = Duration::from_secs(60);
const KINDS: [&str; 5] = ["deployments", "statefulsets", "services", "serviceaccounts", "configmaps"];
const MANAGED: [&str; 2] = ["-l", "app.kubernetes.io/managed-by=weft-operator"];

pub(crate) async fn recreates_deleted_objects_and_keeps_secrets(place: &Place) -> Result<()> {
    let secrets = identities(place, "secrets").await?;
    // FerretDB, which the local node runs, has no superuser.
    ensure!(
        secrets.len() >= 7,
        "expected the Secrets of three stores, their superusers, authentication and the first user, found {secrets:?}"
    );
    let mut deleted = 0;
    for kind in KINDS {
        for (name, uid) in identities(place, kind).await? {
            place.kubectl().run(&["--namespace", MAIN, "delete", kind, &name, "--wait=false"]).await?;
            comes_back(place, kind, &name, &uid).await?;
            deleted += 1;
        }
    }
    // Six services, Jaeger, the mail catcher and three stores; a Service for each but the listener, a ServiceAccount for each.
    ensure!(deleted >= 32, "only {deleted} objects carry the operator's label");
    place.ready().await?;
    ensure!(
        identities(place, "secrets").await? == secrets,
        "a Secret was replaced: its password no longer opens the data"
    );
    until("an event to be stored", BACK_WITHIN, async || {
        road::by_event(place.broker()?, place.jaeger()?).await
    })
    .await
}

/// Name and uid of each object that the operator created.
async fn identities(place: &Place, kind: &str) -> Result<Vec<(String, String)>> {
    let objects = place.kubectl().list(MAIN, &[&[kind], &MANAGED[..]].concat()).await?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("an object without name or uid");
    objects
        .iter()
        .map(|object| Ok((text(&object["metadata"]["name"])?, text(&object["metadata"]["uid"])?)))
        .collect()
}

async fn comes_back(place: &Place, kind: &str, name: &str, old: &str) -> Result<()> {
    until(&format!("{kind}/{name} to come back"), BACK_WITHIN, async || {
        let object = place.kubectl().json(&["--namespace", MAIN, "get", kind, name]).await?;
        ensure!(object["metadata"]["uid"] != old, "the deleted object still exists");
        Ok(())
    })
    .await
}
