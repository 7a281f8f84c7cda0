//! Log calls beside others that take long.

use serde_json::json;
use weft_devstack::ServiceOptions;

use crate::logger::HANGS;
use crate::rig::{Rig, reply};

/// Logs `bytes` that the logger never answers, and then something small.
async fn small_after_a_hanging(bytes: usize) {
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
    assert!(!hanging.is_finished(), "it was still under way");
    hanging.abort();
}

#[tokio::test]
async fn a_large_entry_holds_up_no_small_one() {
    small_after_a_hanging(1_000_000).await;
}

#[tokio::test]
async fn a_call_that_hangs_holds_up_no_other() {
    small_after_a_hanging(10).await;
}
