use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use weft_devstack::{FerretDb, Jaeger, Postgres, RabbitMq, StateDir};

use crate::helpers::{descendants, is_alive, is_stopped};

fn port_of(uri: &str) -> u16 {
    let after = uri.rsplit(':').next().unwrap();
    after.split('/').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn rabbitmq_restarts_on_its_port_after_a_kill_and_leaves_no_process() {
    let state = StateDir::temporary().unwrap();
    let rabbitmq = RabbitMq::start(state.path()).await.unwrap();
    let uri = rabbitmq.uri().to_owned();
    assert!(rabbitmq.ctl(&["list_users"]).unwrap().contains("weft"));
    let first = rabbitmq.pid().unwrap();

    rabbitmq.kill().await.unwrap();
    assert!(
        TcpStream::connect(("127.0.0.1", port_of(&uri))).await.is_err(),
        "a killed node still accepts connections"
    );
    rabbitmq.start().await.unwrap();

    assert_eq!(rabbitmq.uri(), uri);
    let pid = rabbitmq.pid().unwrap();
    assert_ne!(pid, first);
    let children = descendants(pid);
    assert!(!children.is_empty(), "the Erlang VM has child processes");
    drop(rabbitmq);
    let left: Vec<u32> = children.into_iter().chain([pid]).filter(|pid| is_alive(*pid)).collect();
    assert_eq!(left, Vec::<u32>::new(), "processes left behind");
}

#[tokio::test]
async fn rabbitmq_stops_gracefully_and_keeps_its_password() {
    let state = StateDir::temporary().unwrap();
    let rabbitmq = RabbitMq::start(state.path()).await.unwrap();
    let password = |uri: &str| uri.split('@').next().unwrap().to_owned();
    let before = password(rabbitmq.uri());
    assert_eq!(rabbitmq.stop().await.unwrap(), "exit status: 0");
    drop(rabbitmq);
    let again = RabbitMq::start(state.path()).await.unwrap();
    assert_eq!(password(again.uri()), before);
}

#[tokio::test]
async fn ferretdb_answers_nothing_while_paused() {
    let state = StateDir::temporary().unwrap();
    let mongodb = FerretDb::start(state.path()).await.unwrap();
    let port = port_of(mongodb.uri());
    assert!(answers_hello(port, Duration::from_secs(120)).await);

    mongodb.pause().unwrap();
    assert!(!answers_hello(port, Duration::from_millis(500)).await);
    mongodb.resume().unwrap();
    assert!(answers_hello(port, Duration::from_secs(120)).await);

    mongodb.kill().await.unwrap();
    mongodb.start().await.unwrap();
    assert!(answers_hello(port, Duration::from_secs(120)).await);
}

#[tokio::test]
async fn postgres_restarts_after_a_kill_or_a_stop_and_leaves_no_process() {
    let state = StateDir::temporary().unwrap();
    let postgres = Postgres::start(state.path()).await.unwrap();
    let port = port_of(postgres.uri());
    let children = descendants(postgres.pid().unwrap());
    assert!(!children.is_empty(), "PostgreSQL has child processes");

    postgres.kill().await.unwrap();
    assert!(
        TcpStream::connect(("127.0.0.1", port)).await.is_err(),
        "a killed server still accepts connections"
    );
    assert_eq!(
        children.into_iter().filter(|pid| is_alive(*pid)).count(),
        0,
        "child processes outlive a kill"
    );
    postgres.start().await.unwrap();

    postgres.pause().unwrap();
    for pid in descendants(postgres.pid().unwrap()) {
        assert!(is_stopped(pid) || !is_alive(pid), "{pid} runs while its parent is paused");
    }
    postgres.resume().unwrap();
    assert_eq!(postgres.stop().await.unwrap(), "exit status: 0");
    let uri = postgres.uri().to_owned();
    drop(postgres);
    let again = Postgres::start(state.path()).await.unwrap();
    assert_eq!(again.uri().split('@').next(), uri.split('@').next());
    let children = descendants(again.pid().unwrap());
    drop(again);
    assert_eq!(
        children.into_iter().filter(|pid| is_alive(*pid)).count(),
        0,
        "child processes outlive their owner"
    );
}

#[tokio::test]
async fn jaeger_answers_queries() {
    let state = StateDir::temporary().unwrap();
    let jaeger = Jaeger::start(state.path(), 0).await.unwrap();
    let services = reqwest::get(format!("{}/api/v3/services", jaeger.query_url())).await.unwrap();
    assert!(services.status().is_success());
}

#[tokio::test]
async fn reports_a_failed_start_with_the_log() {
    let state = StateDir::temporary().unwrap();
    // A file at the path of the data folder.
    std::fs::write(state.path().join("mnesia"), "").unwrap();
    let error = format!("{:#}", RabbitMq::start(state.path()).await.unwrap_err());
    assert!(error.contains("rabbitmq exited during startup"), "{error}");
    assert!(error.contains("rabbitmq.log"), "{error}");
}

/// True when MongoDB's `hello`, sent as an OP_MSG, is answered. Encoded by hand: only the logger depends on the driver.
async fn answers_hello(port: u16, within: Duration) -> bool {
    let document = b"\x1b\x00\x00\x00\x10hello\x00\x01\x00\x00\x00\x02$db\x00\x02\x00\x00\x00a\x00\x00";
    let length = 16 + 4 + 1 + document.len() as u32;
    let mut message = Vec::new();
    for word in [length, 1, 0, 2013, 0] {
        message.extend(word.to_le_bytes());
    }
    message.push(0);
    message.extend(document);
    let answered = timeout(within, async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(&message).await?;
        stream.read_u32_le().await
    });
    matches!(answered.await, Ok(Ok(_)))
}
