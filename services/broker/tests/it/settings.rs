use std::time::Duration;

use weft_devstack::{Service, StateDir};

use crate::helpers::nobody_there;

/// Starts it with one setting changed; it has to end, and to name the setting in its last words.
async fn refuses(name: &str, value: &str) {
    let state = StateDir::temporary().unwrap();
    let broker = Service::start_unready("broker", state.path(), nobody_there().env(name, value)).unwrap();
    let status = broker.await_end(Duration::from_secs(20)).await.unwrap();
    assert_eq!(status, "exit status: 1", "{name}={value}");
    let said = broker.log_tail();
    assert!(said.contains(name), "{name}={value}: {said}");
}

#[tokio::test]
async fn a_setting_that_is_wrong_or_missing_is_named() {
    refuses("AMQP_URI", "").await;
    refuses("BROKER_PUBLISH_TIMEOUT", "soon").await;
    refuses("BROKER_TRUST_INCOMING_TRACES", "perhaps").await;
    refuses("BROKER_ORIGINS", "*").await;
    refuses("BROKER_TRUSTED_PROXIES", "everywhere").await;
    refuses("BROKER_JAEGER_URL", "jaeger").await;
    refuses("BROKER_OPEN_ACTIONS", "auth").await;
    refuses("BROKER_ROUTES", "/ping=http://orders:8080").await;
    refuses("WEFT_MESH_SECURITY", "").await;
    refuses("WEFT_MESH_ADDRESSES", "logger").await;
    refuses("WEFT_HTTP_ADDR", "everywhere").await;
}
