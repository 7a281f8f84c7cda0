use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use weft_devstack::{Jaeger, ServiceOptions, StateDir, free_port};

use crate::rig::{Rig, reply};

const UNKNOWN: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn reads_the_trace_of_a_request() {
    let state = StateDir::temporary().unwrap();
    let jaeger = Jaeger::start(&state.folder("jaeger").unwrap(), 0).await.unwrap();
    let options = ServiceOptions::default()
        .env("BROKER_JAEGER_URL", jaeger.query_url())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.otlp_endpoint());
    let rig = Rig::start(options).await;
    rig.as_viewer(rig.get(&format!("/v1/traces/{UNKNOWN}"))).await.is_problem(404, "trace not found");
    let logged =
        reply(rig.post("/handle", &json!({"action": "log", "log": {"name": "n", "data": ""}}))).await;
    let id = logged.header("traceresponse").split('-').nth(1).unwrap().to_owned();
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(120);
    let trace = loop {
        let found = rig.as_viewer(rig.get(&format!("/v1/traces/{id}"))).await;
        if found.status == 200 && found.body["spans"].as_array().unwrap().len() >= 2 {
            break found.body;
        }
        assert!(tokio::time::Instant::now() < until, "{found:?}");
    };
    assert_eq!(trace["trace_id"], id.as_str());
    let (root, call) = (&trace["spans"][0], &trace["spans"][1]);
    assert_eq!((&root["name"], &root["kind"]), (&json!("POST /handle"), &json!("server")));
    assert_eq!((&root["parent_span_id"], &root["service"]), (&json!(null), &json!("broker")));
    assert_eq!((&call["kind"], &call["parent_span_id"]), (&json!("client"), &root["span_id"]));
    assert_eq!(root["attributes"]["http.response.status_code"], "202");
    assert!(root["start_time"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn validates_ids_and_hides_failures_of_jaeger() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let elsewhere = (StatusCode::FOUND, [("location", "http://127.0.0.1:1/")]);
    let huge = "x".repeat(17 << 20);
    let router = Router::new()
        .route("/api/v3/traces/0000000000000000000000000000000a", get(async move || elsewhere))
        .route("/api/v3/traces/0000000000000000000000000000000b", get(async move || huge))
        .route("/api/v3/traces/0000000000000000000000000000000c", get(async || Json(json!({"result": 5}))));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let rig = Rig::start(ServiceOptions::default().env("BROKER_JAEGER_URL", url)).await;
    let trace = |id: &str| rig.get(&format!("/v1/traces/{id}"));
    for id in ["x", "..%2f..%2fapi%2fservices", &UNKNOWN.to_uppercase(), &format!("{UNKNOWN}0")] {
        rig.as_viewer(trace(id)).await.is_problem(400, "32 lower-case hexadecimal");
    }
    let of = |last: &str| format!("0000000000000000000000000000000{last}");
    rig.as_viewer(trace(&of("a"))).await.is_problem(503, "Jaeger");
    rig.as_viewer(trace(&of("b"))).await.is_problem(502, "larger");
    rig.as_viewer(trace(&of("c"))).await.is_problem(502, "not a trace");
    rig.as_viewer(trace(&of("d"))).await.is_problem(404, "trace not found");
}

#[tokio::test]
async fn without_jaeger_traces_are_503() {
    let rig = Rig::start(ServiceOptions::default()).await;
    rig.as_viewer(rig.get(&format!("/v1/traces/{UNKNOWN}"))).await.is_problem(503, "BROKER_JAEGER_URL");
    let unreachable = format!("http://127.0.0.1:{}", free_port().unwrap());
    let rig = Rig::start(ServiceOptions::default().env("BROKER_JAEGER_URL", unreachable)).await;
    rig.as_viewer(rig.get(&format!("/v1/traces/{UNKNOWN}"))).await.is_problem(503, "can't be reached");
}
