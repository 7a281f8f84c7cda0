use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};
use weft_devstack::Service;

use crate::helpers::{Pipeline, event, soon, until};

async fn get(service: &Service, path: &str) -> (u16, String) {
    let reply = reqwest::get(format!("{}{path}", service.admin_url())).await.unwrap();
    (reply.status().as_u16(), reply.text().await.unwrap())
}

async fn rabbitmq_status(service: &Service) -> Value {
    let all: Value = serde_json::from_str(&get(service, "/status").await.1).unwrap();
    all["rabbitmq"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn is_ready_only_while_it_consumes_and_always_alive() {
    let pipeline = Pipeline::start().await;
    assert_eq!(get(&pipeline.listener, "/readyz").await.0, 200);
    let status = rabbitmq_status(&pipeline.listener).await;
    assert_eq!(
        (&status["reachable"], &status["authenticated"], &status["migrated"]),
        (&true.into(), &true.into(), &true.into())
    );

    // A graceful stop, as in a rollout. The tests in `kills` use SIGKILL.
    pipeline.rabbitmq.stop().await.unwrap();
    let deadline = soon();
    while get(&pipeline.listener, "/readyz").await.0 != 503
        || rabbitmq_status(&pipeline.listener).await["reachable"] != false
    {
        assert!(Instant::now() < deadline, "still ready, or RabbitMQ still reported as reachable");
        sleep(Duration::from_millis(20)).await;
    }
    assert!(get(&pipeline.listener, "/readyz").await.1.contains("rabbitmq"));
    assert_eq!(get(&pipeline.listener, "/livez").await.0, 200);
    assert!(
        get(&pipeline.listener, "/metrics").await.1.contains("rabbitmq_connected{connection=\"consumer\"} 0")
    );

    pipeline.rabbitmq.start().await.unwrap();
    pipeline.listener.await_ready().await.unwrap();
    assert_eq!(rabbitmq_status(&pipeline.listener).await["reachable"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_stop_loses_no_event() {
    let pipeline = Pipeline::start().await;
    let mut sent = Vec::new();
    for _ in 0..50 {
        let event = event("drain", "log.INFO", r#"{"name":"n","data":"d"}"#);
        pipeline.publisher.publish(&event, soon()).await.unwrap();
        sent.push(event.id);
    }
    assert_eq!(pipeline.listener.stop().await.unwrap(), "exit status: 0");
    // RabbitMQ's counts of a quorum queue follow its contents with a delay.
    until("every event is stored or waits in RabbitMQ", async || {
        let stored = pipeline.entries("drain").await.unwrap().len();
        stored as u64 + pipeline.messages("listener.log") == 50
    })
    .await;
    pipeline.listener.start().await.unwrap();
    let entries = pipeline.until_entries("drain", 50).await;
    assert!(sent.iter().all(|id| entries.contains_key(id)));
}
