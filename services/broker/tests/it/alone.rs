use std::time::{Duration, Instant};

use reqwest::Response;
use serde_json::{Value, json};
use weft_devstack::{Service, StateDir};

use crate::helpers::unreachable_services;

/// Far above all timeouts of the broker: a call that takes longer hangs.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);

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
    assert!(!message.contains("127.0.0.1"), "the message has an address: {message}");
}

#[tokio::test]
async fn is_ready_without_rabbitmq_and_logger_and_answers_503() {
    let state = StateDir::temporary().unwrap();
    let broker = Service::start("broker", state.path(), unreachable_services()).await.unwrap();
    let started = Instant::now();
    assert_unavailable(post(&broker, json!({"action": "log", "log": {"name": "x", "data": ""}})).await).await;
    assert_unavailable(post(&broker, json!({"action": "event", "event": {"name": "x", "data": ""}})).await)
        .await;
    assert!(started.elapsed() < REPLY_TIMEOUT * 2, "answered after {:?}", started.elapsed());
}

#[tokio::test]
async fn answers_ping_and_root_without_other_services() {
    let state = StateDir::temporary().unwrap();
    let broker = Service::start("broker", state.path(), unreachable_services()).await.unwrap();
    let ping = reqwest::get(format!("{}/ping", broker.http_url())).await.unwrap();
    assert_eq!((ping.status().as_u16(), ping.text().await.unwrap().as_str()), (200, "."));
    let hit = reqwest::Client::new().post(broker.http_url()).send().await.unwrap();
    let expected = json!({"error": false, "message": "Hit the broker"});
    assert_eq!((hit.status().as_u16(), hit.json::<Value>().await.unwrap()), (200, expected));
}

#[tokio::test]
async fn exits_with_0_on_sigterm_and_logs_no_password() {
    let state = StateDir::temporary().unwrap();
    let broker = Service::start("broker", state.path(), unreachable_services()).await.unwrap();
    post(&broker, json!({"action": "event", "event": {"name": "x", "data": ""}})).await;
    assert_eq!(broker.stop().await.unwrap(), "exit status: 0");
    let log = std::fs::read_to_string(broker.log_file()).unwrap();
    assert!(log.contains("RabbitMQ"), "the log does not mention RabbitMQ: {log}");
    assert!(!log.contains("secret-password"), "{log}");
}
