use weft_proto::weft::log::v1::Level;

use crate::helpers::Road;

/// As the Go original publishes: to its own exchange, no id, no headers, nothing but a body.
fn publish(road: &Road, key: &str, body: &str) {
    let code = format!(
        "rabbit_basic:publish(rabbit_misc:r(<<\"/\">>, exchange, <<\"logs_topic\">>), <<\"{key}\">>, [], <<\"{}\">>).",
        body.replace('"', "\\\"")
    );
    road.rabbitmq.ctl(&["eval", &code]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_the_originals_publisher_becomes_an_entry() {
    let road = Road::start().await;
    publish(&road, "log.WARNING", r#"{"name":"event","data":"from Go"}"#);
    let entries = road.until_entries("unknown", 1).await;
    let entry = entries.values().next().unwrap();
    assert_eq!(
        (entry.name.as_str(), entry.data.as_str(), entry.level()),
        ("event", "from Go", Level::Warning)
    );
    assert_eq!(entry.attributes["event.type"], "log.WARNING");
    assert!(road.until_letters("listener.log", 0).await.is_empty());
}
