use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weft_devcluster::condition;
use weft_e2e::until;

use crate::place::{Place, SPARE};

async fn refusal(place: &Place, spec: &Value) -> Result<String> {
    let applied = place.kubectl().apply(&place.stack("refused", SPARE, spec).to_string()).await;
    let refused = applied.err().context("it was accepted")?;
    let stacks = place.kubectl().list(SPARE, &["stacks"]).await?;
    ensure!(stacks.is_empty(), "it was refused and is there all the same");
    Ok(format!("{refused:#}"))
}

pub(crate) async fn a_stack_with_an_unknown_field_is_refused_by_its_name(place: &Place) -> Result<()> {
    let version = place.version()?;
    let said = refusal(place, &json!({"version": version, "colour": "red"})).await?;
    ensure!(said.contains("spec.colour"), "it says: {said}");
    let said = refusal(place, &json!({"version": version, "services": {"broker": {"replica": 2}}})).await?;
    ensure!(said.contains("spec.services.broker.replica"), "it says: {said}");
    Ok(())
}

pub(crate) async fn a_stack_with_a_wrong_value_is_refused(place: &Place) -> Result<()> {
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
        let said = refusal(place, &spec).await.with_context(|| spec.to_string())?;
        ensure!(said.contains(named), "for {spec} it says: {said}");
    }
    Ok(())
}

pub(crate) async fn an_unknown_version_stalls_and_names_the_known_ones(place: &Place) -> Result<()> {
    let known = place.version()?;
    place.kubectl().apply(&place.stack("future", SPARE, &json!({"version": "99.0.0"})).to_string()).await?;
    until("the condition Stalled", Duration::from_secs(60), async || {
        let stack = place.found_stack("future", SPARE).await?;
        let stalled = condition(&stack, "Stalled").context("no condition Stalled")?;
        ensure!(stalled["status"] == "True", "it is {stalled}");
        let message = stalled["message"].as_str().unwrap_or_default();
        ensure!(message.contains("99.0.0") && message.contains(&known), "it says: {message}");
        ensure!(
            condition(&stack, "Ready").is_some_and(|ready| ready["status"] == "False"),
            "Ready is not False"
        );
        Ok(())
    })
    .await?;
    let made = place.kubectl().list(SPARE, &["deployments,statefulsets"]).await?;
    ensure!(made.is_empty(), "it made {} objects for a version that it does not know", made.len());
    place.kubectl().run(&["--namespace", SPARE, "delete", "stack", "future"]).await?;
    Ok(())
}
