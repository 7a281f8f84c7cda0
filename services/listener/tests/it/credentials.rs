//! Rotates the credentials of a real RabbitMQ with the command that a Job runs.

use std::process::{Command, Output};

use weft_devstack::{RabbitMq, StateDir, our_binary};
use weft_events::{Amqp, Event, EventMetrics, PublishError, Publisher};
use weft_runtime::metrics::Metrics;

use crate::helpers::event;

/// Characters that need escaping in a path or in JSON.
const HOSTILE: &str = "we/ft?#%2f \"é";
const PASSWORD: &str = "p@ss:/word%\"\\";

struct Node {
    rabbitmq: RabbitMq,
    _state: StateDir,
}

impl Node {
    async fn start() -> Self {
        let state = StateDir::temporary().unwrap();
        let rabbitmq = RabbitMq::start_with_management(&state.folder("rabbitmq").unwrap()).await.unwrap();
        Self { rabbitmq, _state: state }
    }

    fn command(&self, verb: &str, uri: &str, username: &str, password: &str) -> Output {
        Command::new(our_binary("listener").unwrap())
            .args(["credentials", verb])
            .env_clear()
            .env("AMQP_URI", uri)
            .env("RABBITMQ_MANAGEMENT_URL", self.rabbitmq.management_url().unwrap())
            .env("CREDENTIALS_USERNAME", username)
            .env("CREDENTIALS_PASSWORD", password)
            .output()
            .unwrap()
    }

    fn done(&self, verb: &str, uri: &str, username: &str, password: &str) {
        let output = self.command(verb, uri, username, password);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn refused(&self, verb: &str, uri: &str, username: &str) -> String {
        let output = self.command(verb, uri, username, "hunter3");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn uri_of(&self, username: &str, password: &str) -> String {
        let mut uri = reqwest::Url::parse(self.rabbitmq.uri()).unwrap();
        uri.set_username(username).unwrap();
        uri.set_password(Some(password)).unwrap();
        // Escapes reserved characters in user and password.
        uri.to_string()
    }

    fn users(&self) -> String {
        self.rabbitmq.ctl(&["list_users", "--quiet", "--no-table-headers"]).unwrap()
    }
}

async fn publish(uri: &str) -> Result<(), PublishError> {
    let amqp = Amqp::parse(&uri.to_owned().into()).unwrap();
    let publisher = Publisher::start(amqp, EventMetrics::register(&Metrics::default()));
    let entry: Event = event("credentials", "log.INFO", r#"{"name":"a","data":"b"}"#);
    let published = publisher.publish(&entry, crate::helpers::soon()).await;
    publisher.close().await;
    published
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grants_and_retires_users_with_all_permissions() {
    let node = Node::start().await;
    let first = node.rabbitmq.uri().to_owned();
    node.done("grant", &first, "weft_2", "another");
    for _ in 0..2 {
        node.done("grant", &first, "weft_2", PASSWORD);
    }
    let second = node.uri_of("weft_2", "p%40ss%3A%2Fword%25%22%5C");
    for _ in 0..2 {
        node.done("retire", &second, "weft", "");
    }
    publish(&second).await.unwrap();
    assert_eq!(
        node.users().trim(),
        "weft_2\t[administrator]",
        "the first user is deleted, the second has its tag"
    );
    let error = node.refused("grant", &first, "weft_3");
    assert!(error.contains("refuses the credentials in AMQP_URI") && !error.contains("hunter"), "{error}");
    node.done("grant", &second, HOSTILE, "x");
    assert!(node.users().contains(HOSTILE), "{}", node.users());
    node.done("retire", &second, HOSTILE, "");
    assert_eq!(node.users().lines().count(), 1);
    let error = node.refused("retire", &second, "weft_2");
    assert!(error.contains("can't retire weft_2: AMQP_URI uses this user"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_a_missing_management_api_and_what_to_do() {
    let node = Node::start().await;
    node.rabbitmq.stop().await.unwrap();
    let error = node.refused("grant", node.rabbitmq.uri(), "weft_2");
    assert!(
        error.contains("management API") && error.contains("restartedAt") && !error.contains("hunter"),
        "{error}"
    );
}
