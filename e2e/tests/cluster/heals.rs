use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weft_e2e::{road, until};

use crate::place::{Place, ROAD};

const BACK_WITHIN: Duration = Duration::from_secs(60);
const KINDS: [&str; 5] = ["deployments", "statefulsets", "services", "serviceaccounts", "configmaps"];
const OURS: [&str; 2] = ["-l", "app.kubernetes.io/managed-by=weft-operator"];

pub(crate) async fn deleted_objects_come_back_and_secrets_stay(place: &Place) -> Result<()> {
    let secrets = identities(place, "secrets").await?;
    // FerretDB, which the local node runs, has no superuser.
    ensure!(
        secrets.len() >= 7,
        "the Secrets of three stores, their superusers, authentication and the first user are {secrets:?}"
    );
    let mut deleted = 0;
    for kind in KINDS {
        for (name, uid) in identities(place, kind).await? {
            place.kubectl().run(&["--namespace", ROAD, "delete", kind, &name, "--wait=false"]).await?;
            comes_back(place, kind, &name, &uid).await?;
            deleted += 1;
        }
    }
    // Six services, Jaeger and the catcher, three stores, a Service for each but the listener, an account for each.
    ensure!(deleted >= 32, "only {deleted} objects carry the operator's label");
    place.ready().await?;
    ensure!(
        identities(place, "secrets").await? == secrets,
        "a Secret was made anew: its password no longer fits the data"
    );
    until("the road to be open again", BACK_WITHIN, async || {
        road::by_event(place.broker()?, place.jaeger()?).await
    })
    .await
}

/// Name and uid of each object that the operator made.
async fn identities(place: &Place, kind: &str) -> Result<Vec<(String, String)>> {
    let objects = place.kubectl().list(ROAD, &[&[kind], &OURS[..]].concat()).await?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("an object without name or uid");
    objects
        .iter()
        .map(|object| Ok((text(&object["metadata"]["name"])?, text(&object["metadata"]["uid"])?)))
        .collect()
}

async fn comes_back(place: &Place, kind: &str, name: &str, old: &str) -> Result<()> {
    until(&format!("{kind}/{name} to come back"), BACK_WITHIN, async || {
        let object = place.kubectl().json(&["--namespace", ROAD, "get", kind, name]).await?;
        ensure!(object["metadata"]["uid"] != old, "it is still the deleted one");
        Ok(())
    })
    .await
}
