use std::time::{Duration, Instant};

use reqwest::Response;
use serde_json::{Value, json};
use weft_devstack::{Service, StateDir};

use crate::helpers::nobody_there;

/// Far above the deadlines inside: what exceeds it hangs.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

async fn post(broker: &Service, body: Value) -> Response {
    let url = format!("{}/handle", broker.http_url());
    reqwest::Client::new().post(url).json(&body).send().await.unwrap()
}

async fn assert_unavailable(response: Response) {
    assert_eq!(response.status(), 503);
    let after: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(after >= 1, "Retry-After is {after}");
    let traced = response.headers()["traceresponse"].to_str().unwrap().to_owned();
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["error"], true);
    assert!(traced.contains(body["trace_id"].as_str().unwrap()), "{traced} and {body}");
    let message = body["message"].as_str().unwrap();
    assert!(!message.contains("127.0.0.1"), "an address goes out: {message}");
}

#[tokio::test]
async fn it_is_ready_without_rabbitmq_and_logger_and_says_503() {
    let state = StateDir::temporary().unwrap();
    let broker = Service::start("broker", state.path(), nobody_there()).await.unwrap();
    let since = Instant::now();
    assert_unavailable(post(&broker, json!({"action": "log", "log": {"name": "x", "data": ""}})).await).await;
    assert_unavailable(post(&broker, json!({"action": "event", "event": {"name": "x", "data": ""}})).await)
        .await;
    assert!(since.elapsed() < ANSWERED_WITHIN * 2, "answered after {:?}", since.elapsed());
}

#[tokio::test]
async fn what_needs_nobody_is_answered() {
    let state = StateDir::temporary().unwrap();
    let broker = Service::start("broker", state.path(), nobody_there()).await.unwrap();
    let ping = reqwest::get(format!("{}/ping", broker.http_url())).await.unwrap();
    assert_eq!((ping.status().as_u16(), ping.text().await.unwrap().as_str()), (200, "."));
    let hit = reqwest::Client::new().post(broker.http_url()).send().await.unwrap();
    let expected = json!({"error": false, "message": "Hit the broker"});
    assert_eq!((hit.status().as_u16(), hit.json::<Value>().await.unwrap()), (200, expected));
}

#[tokio::test]
async fn it_ends_well_on_sigterm_and_its_log_has_no_password() {
    let state = StateDir::temporary().unwrap();
    let broker = Service::start("broker", state.path(), nobody_there()).await.unwrap();
    post(&broker, json!({"action": "event", "event": {"name": "x", "data": ""}})).await;
    assert_eq!(broker.stop().await.unwrap(), "exit status: 0");
    let log = std::fs::read_to_string(broker.log_file()).unwrap();
    assert!(log.contains("RabbitMQ"), "the log says nothing of what is missing: {log}");
    assert!(!log.contains("secret-password"), "{log}");
}
