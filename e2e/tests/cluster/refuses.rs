use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weft_devcluster::condition;
use weft_e2e::until;

use crate::place::{Place, SPARE};

async fn refusal(place: &Place, spec: &Value) -> Result<String> {
    let applied = place.kubectl().apply(&place.stack("refused", SPARE, spec).to_string()).await;
    let refused = applied.err().context("the Stack was accepted")?;
    let stacks = place.kubectl().list(SPARE, &["stacks"]).await?;
    ensure!(stacks.is_empty(), "the Stack was refused but exists");
    Ok(format!("{refused:#}"))
}

pub(crate) async fn rejects_an_unknown_field(place: &Place) -> Result<()> {
    let version = place.version()?;
    let message = refusal(place, &json!({"version": version, "colour": "red"})).await?;
    ensure!(message.contains("spec.colour"), "the message is: {message}");
    let message =
        refusal(place, &json!({"version": version, "services": {"broker": {"replica": 2}}})).await?;
    ensure!(message.contains("spec.services.broker.replica"), "the message is: {message}");
    Ok(())
}

pub(crate) async fn rejects_an_invalid_value(place: &Place) -> Result<()> {
    let version = place.version()?;
    let both = json!({"managed": {}, "external": {"secretRef": {"name": "mine"}}});
    for (spec, named) in [
        (json!({}), "spec.version"),
        (json!({"version": ""}), "spec.version"),
        (
            json!({"version": version, "services": {"broker": {"replicas": -1}}}),
            "spec.services.broker.replicas",
        ),
        (
            json!({"version": version, "services": {"broker": {"replicas": "two"}}}),
            "spec.services.broker.replicas",
        ),
        (json!({"version": version, "stores": {"mongodb": both}}), "spec.stores.mongodb"),
        (
            json!({"version": version, "services": {"logger": {"env": [{"name": "MONGODB_URI", "value": "x"}]}}}),
            "env[0]",
        ),
        (json!({"version": version, "origins": ["*"]}), "spec.origins"),
        (json!({"version": version, "openActions": ["auth"]}), "spec.openActions"),
        (json!({"version": version, "limits": {"signInPerMinute": -1}}), "spec.limits.signInPerMinute"),
        (
            json!({"version": version, "mail": {"from": {"address": "a@b\nBcc: c@d"}}}),
            "spec.mail.from.address",
        ),
        (
            json!({"version": version, "admin": {"email": "a@example.com", "secretRef": {"name": "boss"}}}),
            "spec.admin",
        ),
        (json!({"version": version, "stores": {"smtp": {"external": {"host": "relay"}}}}), "spec.mail.from"),
        (
            json!({"version": version, "stores": {"smtp": {"catcher": {}, "external": {"host": "relay"}}}}),
            "spec.stores.smtp",
        ),
    ] {
        let message = refusal(place, &spec).await.with_context(|| spec.to_string())?;
        ensure!(message.contains(named), "{spec}: the message is: {message}");
    }
    Ok(())
}

pub(crate) async fn an_unknown_version_stalls_the_stack(place: &Place) -> Result<()> {
    let known = place.version()?;
    place.kubectl().apply(&place.stack("future", SPARE, &json!({"version": "99.0.0"})).to_string()).await?;
    until("the condition Stalled", Duration::from_secs(60), async || {
        let stack = place.found_stack("future", SPARE).await?;
        let stalled = condition(&stack, "Stalled").context("no condition Stalled")?;
        ensure!(stalled["status"] == "True", "Stalled is {stalled}");
        let message = stalled["message"].as_str().unwrap_or_default();
        ensure!(message.contains("99.0.0") && message.contains(&known), "the message is: {message}");
        ensure!(
            condition(&stack, "Ready").is_some_and(|ready| ready["status"] == "False"),
            "Ready is not False"
        );
        Ok(())
    })
    .await?;
    let made = place.kubectl().list(SPARE, &["deployments,statefulsets"]).await?;
    ensure!(made.is_empty(), "{} objects were created for an unknown version", made.len());
    place.kubectl().run(&["--namespace", SPARE, "delete", "stack", "future"]).await?;
    Ok(())
}
