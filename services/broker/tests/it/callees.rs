//! Callees in `/status`.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;
use weft_devstack::{RabbitMq, Service, ServiceOptions, StateDir, free_port};
use weft_mesh::Server;
use weft_proto::weft::log::v1::log_service_server::LogServiceServer;
use weft_runtime::lifecycle::Shutdown;
use weft_runtime::metrics::Metrics;

use crate::logger::Logger;

/// Upper bound: each step ends as soon as its condition holds.
const TIMEOUT: Duration = Duration::from_secs(60);

async fn status_becomes(broker: &Service, callee: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let url = format!("{}/status", broker.admin_url());
    let seen = async {
        loop {
            let status: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
            if status.get(callee).is_some_and(&holds) {
                return status[callee].clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, seen).await.expect("/status did not change")
}

fn usable(status: &Value) -> bool {
    *status == json!({"reachable": true, "authenticated": true, "migrated": true})
}

#[tokio::test]
async fn the_first_call_succeeds_once_status_reports_the_logger_reachable() {
    let state = StateDir::temporary().unwrap();
    let logger = format!("127.0.0.1:{}", free_port().unwrap());
    let rabbitmq = free_port().unwrap();
    let options = ServiceOptions::default()
        .env("BROKER_OPEN_ACTIONS", "log,event")
        .env("AMQP_URI", format!("amqp://user:secret-password@127.0.0.1:{rabbitmq}/%2f"))
        .env(
            "WEFT_MESH_ADDRESSES",
            format!("logger={logger},authentication=127.0.0.1:{}", free_port().unwrap()),
        );
    let broker = Service::start("broker", state.path(), options).await.unwrap();
    for callee in ["logger", "authentication", "rabbitmq"] {
        let away = status_becomes(&broker, callee, |status| {
            status["reachable"] == false && status["message"].as_str().unwrap().contains("failed to connect")
        });
        assert!(!away.await.to_string().contains("secret-password"));
    }

    let listener = TcpListener::bind(&logger).await.unwrap();
    let server = Server::new(&Metrics::default(), Shutdown::default())
        .serving(LogServiceServer::new(Logger::default()));
    tokio::spawn(async move { server.serve(listener).await.unwrap() });
    status_becomes(&broker, "logger", usable).await;
    let post =
        |body: Value| reqwest::Client::new().post(format!("{}/handle", broker.http_url())).json(&body).send();
    let logged = post(json!({"action": "log", "log": {"name": "x", "data": ""}})).await.unwrap();
    assert_eq!(logged.status(), 202);
}

#[tokio::test]
async fn the_first_event_is_accepted_once_status_reports_rabbitmq_reachable() {
    let state = StateDir::temporary().unwrap();
    let rabbitmq = RabbitMq::start(&state.folder("rabbitmq").unwrap()).await.unwrap();
    let unused = free_port().unwrap();
    let options = ServiceOptions::default()
        .env("BROKER_OPEN_ACTIONS", "log,event")
        .env("AMQP_URI", rabbitmq.uri())
        .env("WEFT_MESH_ADDRESSES", format!("logger=127.0.0.1:{unused},authentication=127.0.0.1:{unused}"));
    let broker = Service::start("broker", state.path(), options).await.unwrap();
    status_becomes(&broker, "rabbitmq", usable).await;
    let event = json!({"action": "event", "event": {"name": "x", "data": ""}});
    let reply =
        reqwest::Client::new().post(format!("{}/handle", broker.http_url())).json(&event).send().await;
    assert_eq!(reply.unwrap().status(), 202);
}
