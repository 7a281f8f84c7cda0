use serde_json::Value;
use weft_devstack::{Jaeger, ServiceOptions, StateDir};
use weft_mesh::caller::Role;

use crate::authentication::token;
use crate::rig::{Rig, reply};

#[tokio::test]
async fn the_description_and_the_keys_need_no_sign_in() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let described = reply(rig.get("/v1/openapi.json")).await;
    assert_eq!((described.status, described.header("content-type")), (200, "application/json"));
    assert!(described.body["openapi"].as_str().unwrap().starts_with("3.1"));
    let keys = reply(rig.get("/.well-known/jwks.json")).await;
    assert_eq!((keys.status, keys.header("cache-control")), (200, "public, max-age=60"));
    assert_eq!(keys.body["keys"][0]["kid"], "key-1");
}

/// Every described route answers its own methods, and 405 to all others.
#[tokio::test]
async fn serves_exactly_the_described_methods() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let described = reply(rig.get("/v1/openapi.json")).await.body;
    for (path, methods) in described["paths"].as_object().unwrap() {
        let path = path.replace("{id}", "x").replace("{queue}", "listener.log");
        let own: Vec<String> =
            methods.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let answered = reply(rig.request(method.parse().unwrap(), &path)).await;
            assert_eq!(
                answered.status != 405,
                own.contains(&method.to_owned()),
                "{method} {path}: {answered:?}"
            );
            if answered.status == 405 {
                assert!(own.iter().all(|own| answered.header("allow").contains(own)), "{path}: {answered:?}");
                assert!(answered.body["trace_id"] != Value::Null);
            }
        }
    }
}

/// Checks the whole API against its description.
#[tokio::test]
async fn schemathesis_finds_nothing() {
    let state = StateDir::temporary().unwrap();
    let jaeger = Jaeger::start(&state.folder("jaeger").unwrap(), 0).await.unwrap();
    let rig =
        Rig::with_rabbitmq_and(ServiceOptions::default().env("BROKER_JAEGER_URL", jaeger.query_url())).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../k8s/local/schemathesis.sh");
    let mut command = tokio::process::Command::new(script);
    command.arg(format!("{}/v1/openapi.json", rig.broker.http_url())).arg(token(Role::Admin));
    let ended = command.env("WEFT_SCHEMATHESIS_EXAMPLES", "10").output().await.unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}
