use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};
use weft_devstack::Service;

use crate::helpers::{Road, event, soon};

async fn get(service: &Service, path: &str) -> (u16, String) {
    let reply = reqwest::get(format!("{}{path}", service.admin_url())).await.unwrap();
    (reply.status().as_u16(), reply.text().await.unwrap())
}

async fn rabbitmq_status(service: &Service) -> Value {
    let all: Value = serde_json::from_str(&get(service, "/status").await.1).unwrap();
    all["rabbitmq"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ready_means_consuming_and_alive_means_nothing_but_itself() {
    let road = Road::start().await;
    assert_eq!(get(&road.listener, "/readyz").await.0, 200);
    let status = rabbitmq_status(&road.listener).await;
    assert_eq!(
        (&status["reachable"], &status["authenticated"], &status["migrated"]),
        (&true.into(), &true.into(), &true.into())
    );

    // In order, as a rollout ends it: what a SIGKILL does is the test of kills.
    road.rabbitmq.stop().await.unwrap();
    let deadline = soon();
    while get(&road.listener, "/readyz").await.0 != 503
        || rabbitmq_status(&road.listener).await["reachable"] != false
    {
        assert!(Instant::now() < deadline, "still ready without RabbitMQ, or still said to be reachable");
        sleep(Duration::from_millis(20)).await;
    }
    assert!(get(&road.listener, "/readyz").await.1.contains("rabbitmq"));
    assert_eq!(get(&road.listener, "/livez").await.0, 200);
    assert!(
        get(&road.listener, "/metrics").await.1.contains("rabbitmq_connected{connection=\"consumer\"} 0")
    );

    road.rabbitmq.start().await.unwrap();
    road.listener.await_ready().await.unwrap();
    assert_eq!(rabbitmq_status(&road.listener).await["reachable"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_in_order_when_asked_and_loses_nothing() {
    let road = Road::start().await;
    let mut sent = Vec::new();
    for _ in 0..50 {
        let event = event("drain", "log.INFO", r#"{"name":"n","data":"d"}"#);
        road.publisher.publish(&event, soon()).await.unwrap();
        sent.push(event.id);
    }
    assert_eq!(road.listener.stop().await.unwrap(), "exit status: 0");
    // RabbitMQ's counts of a quorum queue follow its contents with a delay.
    let deadline = soon();
    loop {
        let stored = road.entries("drain").await.unwrap().len();
        let waiting = road.messages("listener.log");
        if stored as u64 + waiting == 50 {
            break;
        }
        assert!(Instant::now() < deadline, "{stored} are stored and {waiting} wait, of 50");
        sleep(Duration::from_millis(100)).await;
    }
    road.listener.start().await.unwrap();
    let entries = road.until_entries("drain", 50).await;
    assert!(sent.iter().all(|id| entries.contains_key(id)));
}
