//! Outages of a store or service: requests fail with a clear status in time, and work again afterwards.

use std::time::{Duration, Instant};

use weft_e2e::{Broker, Reply, road, until};

use crate::helpers::Own;

/// Far above all deadlines; a longer response counts as hanging.
const ANSWERED_WITHIN: Duration = Duration::from_secs(18);
const BACK_WITHIN: Duration = Duration::from_secs(60);

fn assert_unavailable(what: &str, reply: &Reply, since: Instant) {
    assert_eq!(reply.status, 503, "{what}: {}", reply.body);
    let after: u64 = reply.header("retry-after").expect("no Retry-After").parse().unwrap();
    assert!((1..=60).contains(&after), "{what}: Retry-After is {after}");
    assert_eq!(reply.body["trace_id"], reply.trace_id().unwrap().as_str(), "{what}: {}", reply.body);
    assert!(since.elapsed() < ANSWERED_WITHIN, "{what}: answered after {:?}", since.elapsed());
}

async fn recovers(broker: &Broker, action: &str) {
    let name = road::unique("back");
    until(&format!("{action} to be accepted again"), BACK_WITHIN, async || {
        let reply =
            if action == "log" { broker.log(&name, "").await? } else { broker.event(&name, "").await? };
        anyhow::ensure!(reply.status == 202, "{}", reply.body);
        Ok(())
    })
    .await
    .unwrap();
    until("the entry to be stored", BACK_WITHIN, async || {
        anyhow::ensure!(!broker.entries(&[("text", &name)]).await?.is_empty(), "no entry");
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn without_the_logger_logs_get_503_and_events_wait() {
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
    recovers(&broker, "log").await;
}

#[tokio::test]
async fn without_rabbitmq_events_get_503_and_logs_work() {
    let own = Own::start().await;
    let broker = own.broker();
    own.stack.rabbitmq.stop().await.unwrap();

    let since = Instant::now();
    assert_unavailable("event", &broker.event("x", "").await.unwrap(), since);
    assert_eq!(broker.log("x", "").await.unwrap().status, 202);
    assert_eq!(
        admin(&own.stack.broker.admin_url(), "readyz").await,
        200,
        "the broker must be ready without RabbitMQ"
    );
    assert_eq!(
        admin(&own.stack.listener.admin_url(), "livez").await,
        200,
        "the listener must be live without RabbitMQ"
    );

    own.stack.rabbitmq.start().await.unwrap();
    recovers(&broker, "event").await;
}

#[tokio::test]
async fn without_mongodb_the_logger_is_live_but_not_ready() {
    let own = Own::start().await;
    let broker = own.broker();
    let logger = own.stack.logger.admin_url();
    own.stack.mongodb.kill().await.unwrap();

    let since = Instant::now();
    assert_unavailable("log", &broker.log("x", "").await.unwrap(), since);
    until("the logger to be not ready", BACK_WITHIN, async || {
        anyhow::ensure!(admin(&logger, "readyz").await == 503, "still ready");
        Ok(())
    })
    .await
    .unwrap();
    assert_eq!(admin(&logger, "livez").await, 200);

    own.stack.mongodb.start().await.unwrap();
    recovers(&broker, "log").await;
}

#[tokio::test]
async fn recovers_from_a_hanging_store() {
    let own = Own::start().await;
    let broker = own.broker();
    own.stack.mongodb.pause().unwrap();
    let since = Instant::now();
    assert_unavailable("log", &broker.log("x", "").await.unwrap(), since);
    own.stack.mongodb.resume().unwrap();
    recovers(&broker, "log").await;

    own.stack.rabbitmq.pause().unwrap();
    let since = Instant::now();
    assert_unavailable("event", &broker.event("x", "").await.unwrap(), since);
    own.stack.rabbitmq.resume().unwrap();
    recovers(&broker, "event").await;
}

async fn admin(url: &str, page: &str) -> u16 {
    reqwest::get(format!("{url}/{page}")).await.unwrap().status().as_u16()
}
