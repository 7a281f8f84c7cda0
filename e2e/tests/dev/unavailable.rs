//! A store or a service is away: a clear answer in time, and work again when it is back.

use std::time::{Duration, Instant};

use weft_e2e::{Broker, Reply, road, until};

use crate::helpers::Own;

/// Far above the deadlines inside: what exceeds it hangs.
const ANSWERED_WITHIN: Duration = Duration::from_secs(18);
const BACK_WITHIN: Duration = Duration::from_secs(60);

fn assert_unavailable(what: &str, reply: &Reply, since: Instant) {
    assert_eq!(reply.status, 503, "{what}: {}", reply.body);
    let after: u64 = reply.header("retry-after").expect("no Retry-After").parse().unwrap();
    assert!((1..=60).contains(&after), "{what}: Retry-After is {after}");
    assert_eq!(reply.body["trace_id"], reply.trace_id().unwrap().as_str(), "{what}: {}", reply.body);
    assert!(since.elapsed() < ANSWERED_WITHIN, "{what}: answered after {:?}", since.elapsed());
}

async fn stores_again(broker: &Broker, door: &str) {
    let name = road::unique("back");
    until(&format!("{door} to be accepted again"), BACK_WITHIN, async || {
        let reply =
            if door == "log" { broker.log(&name, "").await? } else { broker.event(&name, "").await? };
        anyhow::ensure!(reply.status == 202, "{}", reply.body);
        Ok(())
    })
    .await
    .unwrap();
    until("it in the store", BACK_WITHIN, async || {
        anyhow::ensure!(!broker.entries(&[("text", &name)]).await?.is_empty(), "nothing");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn without_the_logger_logs_are_503_and_events_wait_for_it() {
    let own = Own::start().await;
    let broker = own.broker();
    broker.token().await.unwrap();
    own.stack.logger.kill().await.unwrap();

    let since = Instant::now();
    assert_unavailable("log", &broker.log("x", "").await.unwrap(), since);
    let since = Instant::now();
    let logs = broker.at("/v1/logs");
    let query = broker.signed_in(|http| http.get(&logs)).await.unwrap();
    assert_unavailable("query", &query, since);
    assert_eq!(query.header("content-type"), Some("application/problem+json"));

    let name = road::unique("waits");
    assert_eq!(broker.event(&name, "for the logger").await.unwrap().status, 202);
    own.stack.logger.start().await.unwrap();
    let entry = until("the event that waited", BACK_WITHIN, || {
        let (broker, name) = (broker.clone(), name.clone());
        async move { broker.entry(&[("text", &name)], Duration::ZERO).await }
    });
    assert_eq!(entry.await.unwrap()["data"], "for the logger");
    stores_again(&broker, "log").await;
}

#[tokio::test]
async fn without_rabbitmq_events_are_503_and_logs_go_on() {
    let own = Own::start().await;
    let broker = own.broker();
    own.stack.rabbitmq.stop().await.unwrap();

    let since = Instant::now();
    assert_unavailable("event", &broker.event("x", "").await.unwrap(), since);
    assert_eq!(broker.log("x", "").await.unwrap().status, 202);
    assert_eq!(
        admin(&own.stack.broker.admin_url(), "readyz").await,
        200,
        "the broker is ready without RabbitMQ"
    );
    assert_eq!(
        admin(&own.stack.listener.admin_url(), "livez").await,
        200,
        "the listener lives without RabbitMQ"
    );

    own.stack.rabbitmq.start().await.unwrap();
    stores_again(&broker, "event").await;
}

#[tokio::test]
async fn without_mongodb_logs_are_503_and_the_logger_is_not_ready_but_lives() {
    let own = Own::start().await;
    let broker = own.broker();
    let logger = own.stack.logger.admin_url();
    own.stack.mongodb.kill().await.unwrap();

    let since = Instant::now();
    assert_unavailable("log", &broker.log("x", "").await.unwrap(), since);
    until("the logger to say that it is not ready", BACK_WITHIN, async || {
        anyhow::ensure!(admin(&logger, "readyz").await == 503, "it says that it is");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(admin(&logger, "livez").await, 200);

    own.stack.mongodb.start().await.unwrap();
    stores_again(&broker, "log").await;
}

#[tokio::test]
async fn a_store_that_hangs_is_answered_for_in_time_and_forgotten_when_it_goes_on() {
    let own = Own::start().await;
    let broker = own.broker();
    own.stack.mongodb.pause().unwrap();
    let since = Instant::now();
    assert_unavailable("log", &broker.log("x", "").await.unwrap(), since);
    own.stack.mongodb.resume().unwrap();
    stores_again(&broker, "log").await;

    own.stack.rabbitmq.pause().unwrap();
    let since = Instant::now();
    assert_unavailable("event", &broker.event("x", "").await.unwrap(), since);
    own.stack.rabbitmq.resume().unwrap();
    stores_again(&broker, "event").await;
}

async fn admin(url: &str, page: &str) -> u16 {
    reqwest::get(format!("{url}/{page}")).await.unwrap().status().as_u16()
}
