//! The whole life of a Stack while entries flow: stopped, started, of another version, gone, and back with its data.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use weft_e2e::{Door, Flow};

use crate::place::{Place, ROAD, STACK};

/// Low: the two cores also run the cluster.
const PER_SECOND: u32 = 20;
const BACK_WITHIN: Duration = Duration::from_secs(180);
/// Acknowledged between two steps.
const BETWEEN: u64 = 40;
const OTHER_VERSION: &str = "0.9.9";
const SERVICES: [&str; 6] = ["broker", "authentication", "logger", "mail", "listener", "frontend"];

pub(crate) async fn a_stack_is_stopped_upgraded_deleted_and_comes_back_with_its_data(
    place: &Place,
) -> Result<()> {
    let flow = Flow::start(place.broker()?, Door::Both, PER_SECOND);
    let lived = live(place, &flow).await;
    if lived.is_err() {
        // What comes after needs it as it was.
        place.apply().await?;
        place.patch(&json!({"version": place.version()?, "stopped": null})).await?;
    }
    lived?;
    let outcome = flow.finish().await?;
    eprintln!("life: {outcome:?}");
    ensure!(outcome.repeated > 0, "no request met a Stack that was not there: {outcome:?}");
    Ok(())
}

async fn live(place: &Place, flow: &Flow) -> Result<()> {
    flow.advance(BETWEEN, BACK_WITHIN).await?;
    eprintln!("stopping");
    place.patch(&json!({"stopped": true})).await?;
    place.becomes(ROAD, STACK, "True", "Stopped").await?;
    place.no_pods(ROAD, "weft.dev/stack").await?;
    eprintln!("starting");
    place.patch(&json!({"stopped": null})).await?;
    place.ready().await?;
    flow.advance(BETWEEN, BACK_WITHIN).await?;

    eprintln!("another version");
    let mut values = Vec::new();
    for service in SERVICES {
        let image = place.image(ROAD, service).await?;
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
    ensure!(data.len() == 9, "three volumes, their Secrets and that of authentication: {data:?}");
    place.kubectl().run(&["--namespace", ROAD, "delete", "stack", STACK, "--wait"]).await?;
    place.no_pods(ROAD, "weft.dev/stack").await?;
    ensure!(self::data(place).await? == data, "the data of {data:?} is {:?}", self::data(place).await?);
    eprintln!("back");
    place.apply().await?;
    place.ready().await?;
    flow.advance(BETWEEN, BACK_WITHIN).await?;
    // With the password of before.
    let reply = place.broker()?.sign_in().await?;
    ensure!(reply.status == 202, "{} {}", reply.status, reply.body);
    Ok(())
}

/// Names and uids of what holds data, or opens it.
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
        let object = place.kubectl().json(&["--namespace", ROAD, "get", kind, name]).await?;
        found.push(format!("{kind}/{name} {}", object["metadata"]["uid"]));
    }
    Ok(found)
}
