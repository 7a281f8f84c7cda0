//! Checks the permissions of a service's user in its store.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use weft_e2e::until;

use crate::place::{MAIN, Place, READY_WITHIN, STACK};

/// Prints the role's attributes, then tries to connect to another database and to read the passwords of all roles.
const SCRIPT: &str = "psql \"$URI\" -XAt -c \"SELECT 'limited' FROM pg_roles WHERE rolname = session_user
    AND NOT (rolsuper OR rolcreaterole OR rolcreatedb)\" \
  -c 'CREATE TABLE owned (id int)' -c 'DROP TABLE owned'
psql \"${URI%/weft}/postgres\" -XAt -c \"SELECT 'elsewhere'\"
psql \"$URI\" -XAt -c \"SELECT 'passwords' FROM pg_authid\"
exit 0";

pub(crate) async fn a_services_role_owns_one_database_and_is_not_superuser(place: &Place) -> Result<()> {
    let uri = |variable: &str, secret: &str| {
        json!([{"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": "uri"}}},
               {"name": "CREDENTIALS_USERNAME", "value": "weft_stranger"},
               {"name": "CREDENTIALS_PASSWORD", "value": "a password"}])
    };
    let image = place.image(MAIN, "postgres").await?;
    let ask = json!({"image": image, "command": ["sh", "-c", SCRIPT], "env": uri("URI", "postgres")});
    let output = output_of(place, "postgres", ask).await?;
    for wanted in [
        "limited",
        "CREATE TABLE",
        "permission denied for database \"postgres\"",
        "permission denied for table pg_authid",
    ] {
        ensure!(output.contains(wanted), "no {wanted:?}:\n{output}");
    }
    ensure!(!output.contains("elsewhere") && !output.contains("passwords"), "{output}");

    let image = place.image(MAIN, "listener").await?;
    let grant = json!({"image": image, "args": ["credentials", "grant"], "env": uri("AMQP_URI", "rabbitmq")});
    let output = output_of(place, "rabbitmq", grant).await?;
    ensure!(output.contains("RabbitMQ refuse"), "the service's user may create users:\n{output}");
    Ok(())
}

/// Runs a container that may connect to this store. Returns its log.
async fn output_of(place: &Place, store: &str, mut container: Value) -> Result<String> {
    let name = format!("role-of-{store}");
    container["name"] = "ask".into();
    container["securityContext"] =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}});
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
        let phase = &pod["status"]["phase"];
        ensure!(*phase == "Failed" || *phase == "Succeeded", "the pod is {phase}");
        Ok(())
    })
    .await?;
    let output = kubectl.run(&["--namespace", MAIN, "logs", &name]).await?;
    kubectl.run(&["--namespace", MAIN, "delete", "pod", &name]).await?;
    Ok(output)
}
