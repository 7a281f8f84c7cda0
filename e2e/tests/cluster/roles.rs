//! What the credentials of a service let it do in its store, and what not.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use weft_e2e::until;

use crate::place::{Place, READY_WITHIN, ROAD, STACK};

/// Says what the role is, then tries another database and the passwords of all roles.
const ASK: &str = "psql \"$URI\" -XAt -c \"SELECT 'limited' FROM pg_roles WHERE rolname = session_user
    AND NOT (rolsuper OR rolcreaterole OR rolcreatedb)\" \
  -c 'CREATE TABLE owned (id int)' -c 'DROP TABLE owned'
psql \"${URI%/weft}/postgres\" -XAt -c \"SELECT 'elsewhere'\"
psql \"$URI\" -XAt -c \"SELECT 'passwords' FROM pg_authid\"
exit 0";

pub(crate) async fn a_service_s_role_owns_one_database_and_is_no_superuser(place: &Place) -> Result<()> {
    let uri = |variable: &str, secret: &str| {
        json!([{"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": "uri"}}},
               {"name": "CREDENTIALS_USERNAME", "value": "weft_stranger"},
               {"name": "CREDENTIALS_PASSWORD", "value": "a password"}])
    };
    let image = place.image(ROAD, "postgres").await?;
    let ask = json!({"image": image, "command": ["sh", "-c", ASK], "env": uri("URI", "postgres")});
    let said = says(place, "postgres", ask).await?;
    for wanted in [
        "limited",
        "CREATE TABLE",
        "permission denied for database \"postgres\"",
        "permission denied for table pg_authid",
    ] {
        ensure!(said.contains(wanted), "no {wanted:?}:\n{said}");
    }
    ensure!(!said.contains("elsewhere") && !said.contains("passwords"), "{said}");

    let image = place.image(ROAD, "listener").await?;
    let grant = json!({"image": image, "args": ["credentials", "grant"], "env": uri("AMQP_URI", "rabbitmq")});
    let said = says(place, "rabbitmq", grant).await?;
    ensure!(said.contains("RabbitMQ refuse"), "the service's user may make users:\n{said}");
    Ok(())
}

/// What a pod prints that may reach this store.
async fn says(place: &Place, store: &str, mut container: Value) -> Result<String> {
    let name = format!("role-of-{store}");
    container["name"] = "ask".into();
    container["securityContext"] =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": ROAD,
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
        let pod = kubectl.json(&["--namespace", ROAD, "get", "pod", &name]).await?;
        let phase = &pod["status"]["phase"];
        ensure!(*phase == "Failed" || *phase == "Succeeded", "it is {phase}");
        Ok(())
    })
    .await?;
    let said = kubectl.run(&["--namespace", ROAD, "logs", &name]).await?;
    kubectl.run(&["--namespace", ROAD, "delete", "pod", &name]).await?;
    Ok(said)
}
