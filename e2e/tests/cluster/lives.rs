//! The life cycle of a Stack while entries flow: stop, start, change of version, deletion, and creation with the kept data.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use weft_e2e::{Flow, Route, until};

use crate::place::{MAIN, Place, STACK};

/// Low, because the cluster runs on the same two cores.
const PER_SECOND: u32 = 20;
const BACK_WITHIN: Duration = Duration::from_secs(180);
/// Number of acknowledged entries between two steps.
const BETWEEN: u64 = 40;
const OTHER_VERSION: &str = "0.9.9";
const SERVICES: [&str; 6] = ["broker", "authentication", "logger", "mail", "listener", "frontend"];

pub(crate) async fn keeps_data_when_stopped_upgraded_and_deleted(place: &Place) -> Result<()> {
    let flow = Flow::start(place.broker()?, Route::Both, PER_SECOND);
    let result = run_steps(place, &flow).await;
    if result.is_err() {
        // Restores the Stack for the following tests.
        place.apply().await?;
        place.patch(&json!({"version": place.version()?, "stopped": null})).await?;
    }
    result?;
    let outcome = flow.finish().await?;
    eprintln!("life: {outcome:?}");
    ensure!(outcome.repeated > 0, "no request was sent while the Stack was down: {outcome:?}");
    Ok(())
}

async fn run_steps(place: &Place, flow: &Flow) -> Result<()> {
    flow.advance(BETWEEN, BACK_WITHIN).await?;
    eprintln!("stopping");
    place.patch(&json!({"stopped": true})).await?;
    place.becomes(MAIN, STACK, "True", "Stopped").await?;
    place.no_pods(MAIN, "weft.dev/stack").await?;
    eprintln!("starting");
    place.patch(&json!({"stopped": null})).await?;
    place.ready().await?;
    flow.advance(BETWEEN, BACK_WITHIN).await?;

    eprintln!("another version");
    let mut values = Vec::new();
    for service in SERVICES {
        let image = place.image(MAIN, service).await?;
        values.push(format!("versions.{}.{service}={image}", OTHER_VERSION.replace('.', "\\.")));
    }
    place.sandbox().set(&values.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    for version in [OTHER_VERSION, &place.version()?] {
        place.patch(&json!({"version": version})).await?;
        place.ready().await?;
        flow.advance(BETWEEN, BACK_WITHIN).await?;
    }

    eprintln!("deleting");
    let data = data(place).await?;
    ensure!(data.len() == 9, "expected three volumes, their Secrets and that of authentication: {data:?}");
    place.kubectl().run(&["--namespace", MAIN, "delete", "stack", STACK, "--wait"]).await?;
    place.no_pods(MAIN, "weft.dev/stack").await?;
    ensure!(self::data(place).await? == data, "expected {data:?}, found {:?}", self::data(place).await?);
    eprintln!("creating again");
    place.apply().await?;
    place.ready().await?;
    flow.advance(BETWEEN, BACK_WITHIN).await?;
    // With the password from before the deletion.
    until("the first user to sign in", BACK_WITHIN, async || {
        let reply = place.broker()?.sign_in().await?;
        ensure!(reply.status == 202, "{} {}", reply.status, reply.body);
        Ok(())
    })
    .await?;
    Ok(())
}

/// Names and uids of the volumes, and of the Secrets that open them.
async fn data(place: &Place) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for (kind, name) in [
        ("pvc", "data-postgres-0"),
        ("pvc", "data-mongodb-0"),
        ("pvc", "data-rabbitmq-0"),
        ("secret", "postgres"),
        ("secret", "mongodb"),
        ("secret", "rabbitmq"),
        ("secret", "weft-authentication"),
        ("secret", "postgres-superuser"),
        ("secret", "rabbitmq-superuser"),
    ] {
        let object = place.kubectl().json(&["--namespace", MAIN, "get", kind, name]).await?;
        found.push(format!("{kind}/{name} {}", object["metadata"]["uid"]));
    }
    Ok(found)
}
