use weft_proto::weft::log::v1::Level;

use crate::helpers::{Pipeline, event, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_event_stores_one_entry() {
    let pipeline = Pipeline::start().await;
    let sent = event("pipeline", "log.ERROR", r#"{"name":"n","data":"d"}"#);
    for _ in 0..3 {
        pipeline.publisher.publish(&sent, soon()).await.unwrap();
    }
    let last = event("pipeline", "log.INFO", r#"{"name":"last","data":""}"#);
    pipeline.publisher.publish(&last, soon()).await.unwrap();

    let entries = pipeline.until_entries("pipeline", 2).await;
    let entry = &entries[&sent.id];
    assert_eq!((entry.name.as_str(), entry.data.as_str(), entry.level()), ("n", "d", Level::Error));
    assert_eq!(entry.time, Some(prost_types::Timestamp { seconds: 1_767_323_045, nanos: 678_000_000 }));
    assert_eq!(entry.attributes["event.type"], "log.ERROR");
    assert!(entries.contains_key(&last.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_data_becomes_a_dead_letter_and_is_not_stored() {
    let pipeline = Pipeline::start().await;
    let invalid = [
        ("log.INFO", r#"{"name":5,"data":"d"}"#),
        ("log.INFO", r#"{"name":"n","data":null}"#),
        ("log.INFO", r#"{"name":"","data":"d"}"#),
        ("log.LOUD", r#"{"name":"n","data":"d"}"#),
        ("log.INFO", "[]"),
        // Rejected by the logger: a name has at most 256 characters.
        ("log.INFO", &format!(r#"{{"name":"{}","data":"d"}}"#, "n".repeat(257))),
    ];
    for (kind, data) in invalid {
        pipeline.publisher.publish(&event("wrong", kind, data), soon()).await.unwrap();
    }
    let good = event("wrong", "log.INFO", r#"{"name":"n","data":"d"}"#);
    pipeline.publisher.publish(&good, soon()).await.unwrap();

    let entries = pipeline.until_entries("wrong", 1).await;
    assert_eq!(entries.keys().collect::<Vec<_>>(), [&good.id]);
    assert_eq!(pipeline.until_letters("listener.log", invalid.len()).await.len(), invalid.len());
    assert_eq!(pipeline.messages("listener.log"), 0);
}
