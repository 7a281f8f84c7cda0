//! Slow log calls must not delay others.

use serde_json::json;
use weft_devstack::ServiceOptions;

use crate::logger::HANGS;
use crate::rig::{Rig, reply};

/// Writes an entry of `bytes` that the logger never answers, then checks that a small one is stored.
async fn writes_small_entry_beside_hanging(bytes: usize) {
    let options = ServiceOptions::default().env("WEFT_MESH_TIMEOUT", "20s");
    let rig = Rig::start(options).await;
    let log = |name: &str, data: String| {
        rig.post("/handle", &json!({"action": "log", "log": {"name": name, "data": data}}))
    };
    let hanging = tokio::spawn(log(HANGS, "x".repeat(bytes)).send());
    while rig.entries.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let small = reply(log("small", String::new())).await;
    assert_eq!(small.status, 202, "{small:?}");
    assert!(!hanging.is_finished(), "the hanging call has ended");
    hanging.abort();
}

#[tokio::test]
async fn a_large_entry_does_not_delay_small_ones() {
    writes_small_entry_beside_hanging(1_000_000).await;
}

#[tokio::test]
async fn a_hanging_call_does_not_delay_others() {
    writes_small_entry_beside_hanging(10).await;
}
