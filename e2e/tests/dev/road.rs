use weft_e2e::road;

use crate::helpers::{broker, jaeger, shared};

#[tokio::test]
async fn stores_an_entry_by_rpc_in_one_trace() {
    let stack = shared().await;
    road::by_rpc(&broker(stack), &jaeger(stack)).await.unwrap();
}

#[tokio::test]
async fn stores_an_event_through_rabbitmq_in_one_trace() {
    let stack = shared().await;
    road::by_event(&broker(stack), &jaeger(stack)).await.unwrap();
}

#[tokio::test]
async fn accepts_log_grpc_of_the_original() {
    let stack = shared().await;
    let (broker, name) = (broker(stack), road::unique("grpc"));
    let body = serde_json::json!({"action": "log", "log": {"name": name, "data": "button"}});
    let reply = weft_e2e::Reply::of(broker.post("/log-grpc", &body)).await.unwrap();
    assert_eq!((reply.status, reply.body["message"].as_str()), (202, Some("logged")));
    let entry = broker.entry(&[("text", &name)], std::time::Duration::from_secs(60)).await.unwrap();
    assert_eq!(entry["data"], "button");
}
