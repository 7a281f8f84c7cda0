use serde_json::json;
use weft_e2e::{Kind, Reply, road};

use crate::helpers::{broker, jaeger, shared};

#[tokio::test]
async fn links_a_trace_of_the_client_without_continuing_it() {
    let stack = shared().await;
    let (outer, outer_span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let body = json!({"action": "log", "log": {"name": road::unique("linked"), "data": ""}});
    let request =
        broker(stack).post("/handle", &body).header("traceparent", format!("00-{outer}-{outer_span}-01"));
    let reply = Reply::of(request).await.unwrap();
    assert_eq!(reply.status, 202);
    let id = reply.trace_id().unwrap();
    assert_ne!(id, outer);
    let trace = jaeger(stack).trace(&id, road::is_rpc_trace).await.unwrap();
    let root = trace.only(Kind::Server, "POST /handle").unwrap();
    assert_eq!(root.links, [(outer.to_owned(), outer_span.to_owned())]);
}

#[tokio::test]
async fn a_client_cannot_disable_tracing() {
    let stack = shared().await;
    let body = json!({"action": "log", "log": {"name": road::unique("unsampled"), "data": ""}});
    let unsampled = "00-0af7651916cd43dd8448eb211c80319d-b7ad6b7169203331-00";
    let reply =
        Reply::of(broker(stack).post("/handle", &body).header("traceparent", unsampled)).await.unwrap();
    jaeger(stack).trace(&reply.trace_id().unwrap(), road::is_rpc_trace).await.unwrap();
}

#[tokio::test]
async fn errors_have_the_trace_id_in_jaeger() {
    let stack = shared().await;
    let (broker, jaeger) = (broker(stack), jaeger(stack));
    let reply = Reply::of(broker.post("/handle", &json!({"action": "dance"}))).await.unwrap();
    assert_eq!((reply.status, reply.body["error"].as_bool()), (400, Some(true)));
    assert_eq!(reply.body["trace_id"], reply.trace_id().unwrap().as_str());
    let trace = jaeger.trace(&reply.trace_id().unwrap(), weft_e2e::Trace::is_whole).await.unwrap();
    trace.only(Kind::Server, "POST /handle").unwrap().has("http.response.status_code", "400").unwrap();

    let logs = broker.at("/v1/logs?limit=0");
    let reply = broker.signed_in(|http| http.get(&logs)).await.unwrap();
    assert_eq!((reply.status, reply.header("content-type")), (400, Some("application/problem+json")));
    assert_eq!(reply.body["trace_id"], reply.trace_id().unwrap().as_str());
}
