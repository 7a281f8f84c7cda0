use weft_proto::weft::log::v1::Level;

use crate::helpers::{Road, event, soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_becomes_one_entry_however_often_it_comes() {
    let road = Road::start().await;
    let sent = event("road", "log.ERROR", r#"{"name":"n","data":"d"}"#);
    for _ in 0..3 {
        road.publisher.publish(&sent, soon()).await.unwrap();
    }
    let last = event("road", "log.INFO", r#"{"name":"last","data":""}"#);
    road.publisher.publish(&last, soon()).await.unwrap();

    let entries = road.until_entries("road", 2).await;
    let entry = &entries[&sent.id];
    assert_eq!((entry.name.as_str(), entry.data.as_str(), entry.level()), ("n", "d", Level::Error));
    assert_eq!(entry.time, Some(prost_types::Timestamp { seconds: 1_767_323_045, nanos: 678_000_000 }));
    assert_eq!(entry.attributes["event.type"], "log.ERROR");
    assert!(entries.contains_key(&last.id));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_of_the_wrong_shape_is_a_dead_letter_and_stores_nothing() {
    let road = Road::start().await;
    let wrong = [
        ("log.INFO", r#"{"name":5,"data":"d"}"#),
        ("log.INFO", r#"{"name":"n","data":null}"#),
        ("log.INFO", r#"{"name":"","data":"d"}"#),
        ("log.LOUD", r#"{"name":"n","data":"d"}"#),
        ("log.INFO", "[]"),
        // Refused by the logger: a name has at most 256 characters.
        ("log.INFO", &format!(r#"{{"name":"{}","data":"d"}}"#, "n".repeat(257))),
    ];
    for (kind, data) in wrong {
        road.publisher.publish(&event("wrong", kind, data), soon()).await.unwrap();
    }
    let good = event("wrong", "log.INFO", r#"{"name":"n","data":"d"}"#);
    road.publisher.publish(&good, soon()).await.unwrap();

    let entries = road.until_entries("wrong", 1).await;
    assert_eq!(entries.keys().collect::<Vec<_>>(), [&good.id]);
    assert_eq!(road.until_letters("listener.log", wrong.len()).await.len(), wrong.len());
    assert_eq!(road.messages("listener.log"), 0);
}
