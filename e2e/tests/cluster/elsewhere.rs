//! External stores, provided by another Stack in a separate namespace without services.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::json;

use crate::place::{ELSEWHERE, Place};

const STACK: &str = "elsewhere";
const SERVICES: [&str; 6] = ["broker", "authentication", "logger", "mail", "listener", "frontend"];
pub(crate) const MAIL_HOST: &str = "mailcatcher.weft-e2e-elsewhere.svc.cluster.local";

/// Creates empty stores. Returns the URI of each store that has one.
pub(crate) async fn fresh(place: &Place) -> Result<BTreeMap<&'static str, String>> {
    let kubectl = place.kubectl();
    let gone = ["--ignore-not-found", "--wait"];
    kubectl.run(&[&["--namespace", ELSEWHERE, "delete", "stack", STACK], &gone[..]].concat()).await?;
    place.no_pods(ELSEWHERE, "weft.dev/stack").await?;
    let data = ["--namespace", ELSEWHERE, "delete", "pvc,secret", "-l", "weft.dev/stack"];
    kubectl.run(&[&data, &gone[..]].concat()).await?;
    let off: serde_json::Map<_, _> =
        SERVICES.map(|service| (service.to_owned(), json!({"enabled": false}))).into_iter().collect();
    let spec = json!({
        "version": place.version()?, "services": off, "networkPolicies": false,
        "stores": {
            "postgres": {"managed": {}}, "mongodb": {"managed": {}}, "rabbitmq": {"managed": {}},
            "smtp": {"catcher": {}},
        },
    });
    kubectl.apply(&place.stack(STACK, ELSEWHERE, &spec).to_string()).await?;
    for app in ["postgres", "mongodb", "rabbitmq", "mailcatcher"] {
        place.ready_pod(ELSEWHERE, app, None).await?;
    }
    let mut uris = BTreeMap::new();
    for store in ["postgres", "mongodb", "rabbitmq"] {
        uris.insert(store, place.secret(ELSEWHERE, store, "uri").await?);
    }
    Ok(uris)
}
