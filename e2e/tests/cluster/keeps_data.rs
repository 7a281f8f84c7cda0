use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use weft_e2e::{Broker, road, until};

use crate::place::{MAIN, Place, READY_WITHIN};

const EVENTS: usize = 20;

async fn replace(place: &Place, store: &str) -> Result<()> {
    let old = place.ready_pod(MAIN, store, None).await?;
    let name = old["metadata"]["name"].as_str().context("a pod without a name")?;
    place.kubectl().run(&["--namespace", MAIN, "delete", "pod", name]).await?;
    place.ready_pod(MAIN, store, old["metadata"]["uid"].as_str()).await?;
    Ok(())
}

pub(crate) async fn a_replaced_mongodb_pod_keeps_entries(place: &Place) -> Result<()> {
    let name = road::unique("kept");
    let reply = place.broker()?.log(&name, "before").await?;
    ensure!(reply.status == 202, "{}", reply.body);
    replace(place, "mongodb").await?;
    let entry = place.broker()?.entry(&[("text", &name)], READY_WITHIN).await?;
    ensure!(entry["data"] == "before", "the entry is {entry}");
    Ok(())
}

pub(crate) async fn a_replaced_postgresql_pod_keeps_users(place: &Place) -> Result<()> {
    let users = place.broker()?.at("/v1/users");
    let email = format!("{}@example.com", road::unique("kept"));
    let user = json!({
        "email": email, "first_name": "Ann", "last_name": "Other", "role": "user",
        "password": "tulips in a blue vase 1887",
    });
    let reply = place.broker()?.signed_in(|http| http.post(&users).json(&user)).await?;
    ensure!(reply.status == 201, "failed to create a user: {} {}", reply.status, reply.body);
    replace(place, "postgres").await?;
    place.ready().await?;
    let back = Broker::signing_in(place.broker()?.at(""), &email, "tulips in a blue vase 1887")?;
    until("the user to sign in", READY_WITHIN, async || {
        let reply = back.sign_in().await?;
        ensure!(reply.status == 202, "{}: {}", reply.status, reply.body);
        Ok(())
    })
    .await
}

/// Events that are not consumed yet are only on RabbitMQ's volume.
pub(crate) async fn a_replaced_rabbitmq_pod_keeps_events(place: &Place) -> Result<()> {
    set_listeners(place, Some(0)).await?;
    place.no_pods(MAIN, "app.kubernetes.io/name=listener").await?;
    let name = road::unique("queued");
    for _ in 0..EVENTS {
        let reply = place.broker()?.event(&name, "before").await?;
        ensure!(reply.status == 202, "{}", reply.body);
    }
    replace(place, "rabbitmq").await?;
    let early = place.broker()?.entries(&[("text", &name)]).await?;
    ensure!(early.is_empty(), "{} were consumed without a listener", early.len());
    set_listeners(place, None).await?;
    place.ready().await?;
    until("every event in the store", Duration::from_secs(60), async || {
        let stored = place.broker()?.entries(&[("text", &name)]).await?;
        ensure!(stored.len() == EVENTS, "{} of {EVENTS}", stored.len());
        Ok(())
    })
    .await
}

async fn set_listeners(place: &Place, replicas: Option<u32>) -> Result<()> {
    place.patch(&json!({"services": {"listener": {"replicas": replicas}}})).await
}
