//! Stacks as large as the API server takes them.

use serde_json::{Value, json};

use super::Space;

#[tokio::test]
async fn what_is_built_for_a_stack_of_a_mebibyte_is_accepted() {
    let env: Vec<Value> =
        (0..64).map(|number| json!({ "name": format!("V{number}"), "value": "x".repeat(4_096) })).collect();
    let services =
        ["broker", "logger", "listener", "mail"].map(|name| (name.to_owned(), json!({ "env": env })));
    let services: serde_json::Map<_, _> = services.into_iter().collect();
    let spec = json!({ "version": "0.1.0", "services": services });
    assert!(spec.to_string().len() > 1 << 20);
    let space = Space::new().await;
    let operator = space.operator().await;
    space.apply(&spec).await.unwrap();
    let stack = space.observed().await;
    operator.stop().await;
    space.assert_nothing_refused("a Stack of a mebibyte");
    assert!(!stack["status"].to_string().contains("ApplyFailed"), "{}", stack["status"]);
}

/// A store that the Stack did not name at first is still the Stack's.
#[tokio::test]
#[ignore = "issue 12, point 4"]
async fn a_store_that_was_not_named_grows_and_its_former_size_heals() {
    let space = Space::new().await;
    let operator = space.operator().await;
    let of = |amount: &str| json!({ "version": "0.1.0", "stores": { "mongodb": { "managed": { "storage": amount } } } });
    for spec in [json!({ "version": "0.1.0" }), of("5Gi"), of("1Gi")] {
        space.apply(&spec).await.unwrap();
        let stack = space.observed().await;
        space.assert_nothing_refused(&spec.to_string());
        assert!(!stack["status"].to_string().contains("ApplyFailed"), "{spec}: {}", stack["status"]);
    }
    operator.stop().await;
}
