//! New credentials of a real RabbitMQ, by the very command that a Job runs.

use std::process::{Command, Output};

use weft_devstack::{RabbitMq, StateDir, our_binary};
use weft_events::{Amqp, Event, EventMetrics, PublishError, Publisher};
use weft_runtime::metrics::Metrics;

use crate::helpers::event;

/// Whatever escaping could trip over, in a path and in JSON.
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
        // What a URL leaves alone in user and password, and a `%` that is one.
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
async fn a_user_may_use_one_virtual_host_and_is_no_administrator() {
    let node = Node::start().await;
    let administrator = node.rabbitmq.uri().to_owned();
    // Made by an earlier version, with the rights of the administrator.
    node.rabbitmq.ctl(&["add_vhost", "other"]).unwrap();
    node.rabbitmq.ctl(&["add_user", "weft_2", "another"]).unwrap();
    node.rabbitmq.ctl(&["set_user_tags", "weft_2", "administrator"]).unwrap();
    node.rabbitmq.ctl(&["set_permissions", "--vhost", "other", "weft_2", ".*", ".*", ".*"]).unwrap();
    for _ in 0..2 {
        node.done("grant", &administrator, "weft_2", PASSWORD);
    }
    let list = |what: &str, of: &[&str]| {
        let arguments = [&[what, "--quiet", "--no-table-headers"], of].concat();
        node.rabbitmq.ctl(&arguments).unwrap().trim().to_owned()
    };
    assert_eq!(list("list_user_permissions", &["weft_2"]), "/\t.*\t.*\t.*");
    assert!(list("list_users", &[]).contains("weft_2\t[]"), "{}", node.users());
    // It declares the topology, publishes, and takes no part in what is the administrator's.
    let user = node.uri_of("weft_2", "p%40ss%3A%2Fword%25%22%5C");
    publish(&user).await.unwrap();
    let said = node.refused("grant", &user, "weft_3");
    assert!(said.contains("refuse") && !said.contains("hunter"), "{said}");
    assert!(!node.users().contains("weft_3"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_follow_one_another() {
    let node = Node::start().await;
    let administrator = node.rabbitmq.uri().to_owned();
    node.done("grant", &administrator, "weft_2", "another");
    node.done("grant", &administrator, HOSTILE, "x");
    assert!(node.users().contains(HOSTILE), "{}", node.users());
    for _ in 0..2 {
        node.done("retire", &administrator, HOSTILE, "");
        node.done("retire", &administrator, "weft_2", "");
    }
    assert_eq!(node.users().trim(), "weft\t[administrator]");
    let said = node.refused("grant", &node.uri_of("weft_2", "another"), "weft_3");
    assert!(said.contains("refuses the credentials in AMQP_URI") && !said.contains("hunter"), "{said}");
    for verb in ["grant", "retire"] {
        let said = node.refused(verb, &administrator, "weft");
        assert!(said.contains("weft is the user that AMQP_URI names"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_the_management_api_is_told_of_with_what_to_do() {
    let node = Node::start().await;
    node.rabbitmq.stop().await.unwrap();
    let said = node.refused("grant", node.rabbitmq.uri(), "weft_2");
    assert!(
        said.contains("management API") && said.contains("restartedAt") && !said.contains("hunter"),
        "{said}"
    );
}
