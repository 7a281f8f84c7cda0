//! Everyday changes of a running Stack. No call may fail.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use weft_devcluster::Calls;
use weft_e2e::calls;

use crate::place::{MAIN, Place, READY_WITHIN};

/// Low, because the cluster runs on the same two cores.
const PER_SECOND: u32 = 25;
/// Number of answered calls between two steps.
const BETWEEN: u64 = 50;
const ROLLED: [&str; 3] = ["broker", "authentication", "logger"];

pub(crate) async fn rollouts_scaling_and_deleted_pods_fail_no_call(place: &Place) -> Result<()> {
    edit(place, |_| json!({"replicas": 2})).await?;
    let calls = calls(place.broker()?, PER_SECOND);
    let under_load = under_load(place, &calls).await;
    let (answered, failed) = calls.finish().await?;
    eprintln!("rolls: {answered} answered, {} failed", failed.len());
    edit(place, |_| json!({"replicas": null, "env": null})).await?;
    under_load?;
    ensure!(failed.is_empty(), "{} calls failed, {answered} succeeded: {failed:#?}", failed.len());
    Ok(())
}

async fn under_load(place: &Place, calls: &Calls) -> Result<()> {
    calls.advance(BETWEEN, READY_WITHIN).await?;
    for app in ROLLED {
        eprintln!("rolling {app}");
        let env = json!([{"name": "WEFT_TEST", "value": "rolled"}]);
        edit(place, |other| if other == app { json!({"env": env}) } else { json!({}) }).await?;
        calls.advance(BETWEEN, READY_WITHIN).await?;
    }
    let several = json!({
        "services": {"mail": {"labels": {"team": "core"}}, "listener": {"replicas": 2}},
        "tracing": {"managed": {}, "ratio": 0.5}, "networkPolicies": false,
        "expose": {"host": "road.example.com"},
    });
    let back = json!({
        "services": {"mail": null, "listener": null}, "tracing": {"managed": {}, "ratio": null},
        "networkPolicies": null, "expose": null,
    });
    for fields in [several, back] {
        eprintln!("editing {fields}");
        place.patch(&fields).await?;
        place.ready().await?;
        calls.advance(BETWEEN, READY_WITHIN).await?;
    }
    for replicas in [3, 2] {
        eprintln!("scaling to {replicas}");
        edit(place, |_| json!({"replicas": replicas})).await?;
        calls.advance(BETWEEN, READY_WITHIN).await?;
    }
    for app in ROLLED {
        eprintln!("deleting a pod of {app}");
        place.kubectl().replace_pod(MAIN, app, READY_WITHIN).await?;
        calls.advance(BETWEEN, READY_WITHIN).await?;
    }
    Ok(())
}

/// Changes the services in the Stack and waits until the change is rolled out.
async fn edit(place: &Place, change: impl Fn(&str) -> Value) -> Result<()> {
    let services: serde_json::Map<_, _> = ROLLED.iter().map(|app| ((*app).to_owned(), change(app))).collect();
    place.patch(&json!({"services": services})).await?;
    place.ready().await
}
