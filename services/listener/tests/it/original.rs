use weft_proto::weft::log::v1::Level;

use crate::helpers::Pipeline;

/// Publishes like the Go original: to its own exchange, a body without id and headers.
fn publish(pipeline: &Pipeline, key: &str, body: &str) {
    let code = format!(
        "rabbit_basic:publish(rabbit_misc:r(<<\"/\">>, exchange, <<\"logs_topic\">>), <<\"{key}\">>, [], <<\"{}\">>).",
        body.replace('"', "\\\"")
    );
    pipeline.rabbitmq.ctl(&["eval", &code]).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stores_a_message_of_the_original() {
    let pipeline = Pipeline::start().await;
    publish(&pipeline, "log.WARNING", r#"{"name":"event","data":"from Go"}"#);
    let entries = pipeline.until_entries("unknown", 1).await;
    let entry = entries.values().next().unwrap();
    assert_eq!(
        (entry.name.as_str(), entry.data.as_str(), entry.level()),
        ("event", "from Go", Level::Warning)
    );
    assert_eq!(entry.attributes["event.type"], "log.WARNING");
    assert!(pipeline.until_letters("listener.log", 0).await.is_empty());
}
