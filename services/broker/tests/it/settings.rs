use std::time::Duration;

use weft_devstack::{Service, StateDir};

use crate::helpers::unreachable_services;

/// Starts the broker with one setting changed: the broker must exit, and name the setting in its log.
async fn assert_invalid(name: &str, value: &str) {
    let state = StateDir::temporary().unwrap();
    let broker =
        Service::start_unready("broker", state.path(), unreachable_services().env(name, value)).unwrap();
    let status = broker.await_end(Duration::from_secs(20)).await.unwrap();
    assert_eq!(status, "exit status: 1", "{name}={value}");
    let log = broker.log_tail();
    assert!(log.contains(name), "{name}={value}: {log}");
}

#[tokio::test]
async fn names_an_invalid_or_missing_setting() {
    assert_invalid("AMQP_URI", "").await;
    assert_invalid("BROKER_PUBLISH_TIMEOUT", "soon").await;
    assert_invalid("BROKER_TRUST_INCOMING_TRACES", "perhaps").await;
    assert_invalid("BROKER_ORIGINS", "*").await;
    assert_invalid("BROKER_TRUSTED_PROXIES", "everywhere").await;
    assert_invalid("BROKER_JAEGER_URL", "jaeger").await;
    assert_invalid("BROKER_OPEN_ACTIONS", "auth").await;
    assert_invalid("BROKER_ROUTES", "/ping=http://orders:8080").await;
    assert_invalid("WEFT_MESH_SECURITY", "").await;
    assert_invalid("WEFT_MESH_ADDRESSES", "logger").await;
    assert_invalid("WEFT_HTTP_ADDR", "everywhere").await;
}
