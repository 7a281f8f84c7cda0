use reqwest::Method;
use serde_json::{Value, json};
use weft_devstack::ServiceOptions;
use weft_events::{Outcome, Queue};

use crate::authentication::{SESSION, USER};
use crate::events::consume;
use crate::rig::{Rig, reply};

async fn items(rig: &Rig, query: &str) -> Vec<Value> {
    let listed = rig.as_admin(rig.get(&format!("/v1/dead-letters{query}"))).await;
    assert_eq!(listed.status, 200, "{listed:?}");
    listed.body["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_dead_letter_is_listed_shown_replayed_and_discarded_and_that_is_written_down() {
    let rig = Rig::with_rabbitmq().await;
    let rabbitmq = rig.rabbitmq.as_ref().unwrap();
    let (mut seen, rejecting) = consume(rabbitmq, Queue::Log, || Outcome::Rejected("no reason".into()));
    for id in [USER, SESSION] {
        let event = json!({"type": "log.INFO", "data": {"name": id, "data": ""}, "id": id});
        assert_eq!(rig.as_user(rig.post("/v1/events", &event)).await.status, 202);
        seen.recv().await.unwrap();
    }
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(120);
    while items(&rig, "?queue=listener.log").await.len() < 2 {
        assert!(tokio::time::Instant::now() < until, "the dead letters never came");
    }
    rejecting.request();
    assert_eq!(items(&rig, "?queue=listener.log&limit=1").await.len(), 1);
    assert!(items(&rig, "?queue=listener.mail").await.is_empty());
    assert_eq!(items(&rig, "").await.len(), 2);

    let path = |id: &str| format!("/v1/dead-letters/listener.log/{id}");
    let shown = rig.as_admin(rig.get(&path(USER))).await;
    assert_eq!((shown.status, &shown.body["type"]), (200, &json!("log.INFO")));
    assert_eq!((&shown.body["data"]["name"], &shown.body["reason"]), (&json!(USER), &json!("no reason")));

    let (mut replayed, _running) = consume(rabbitmq, Queue::Log, || Outcome::Done);
    let replay = rig.as_admin(rig.request(Method::POST, &format!("{}/replay", path(USER)))).await;
    assert_eq!(replay.status, 202, "{replay:?}");
    assert_eq!(replayed.recv().await.unwrap().id, USER);
    let discard = || rig.request(Method::DELETE, &path(SESSION));
    assert_eq!(rig.as_admin(discard()).await.status, 204);
    rig.as_admin(discard()).await.is_problem(404, "no such dead letter");
    rig.as_admin(rig.get(&path(USER))).await.is_problem(404, "no such dead letter");
    assert!(items(&rig, "").await.is_empty());

    let entries = rig.entries.lock().unwrap().clone();
    let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["dead letter replayed", "dead letter discarded"]);
    let written = &entries[0];
    assert_eq!((written.service.as_str(), written.trace_id.len()), ("broker", 32));
    for (key, value) in [("user", USER), ("queue", "listener.log"), ("id", USER), ("type", "log.INFO")] {
        assert_eq!(written.attributes[key], value);
    }
}

#[tokio::test]
async fn what_can_not_be_written_down_is_not_done() {
    let rig = Rig::with_rabbitmq().await;
    let (mut seen, rejecting) =
        consume(rig.rabbitmq.as_ref().unwrap(), Queue::Log, || Outcome::Rejected("x".into()));
    let event = json!({"type": "log.INFO", "data": {"name": "n"}, "id": USER});
    assert_eq!(rig.as_user(rig.post("/v1/events", &event)).await.status, 202);
    seen.recv().await.unwrap();
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(120);
    while items(&rig, "").await.is_empty() {
        assert!(tokio::time::Instant::now() < until, "the dead letter never came");
    }
    rejecting.request();
    rig.take_logger_away().await;
    let path = format!("/v1/dead-letters/listener.log/{USER}");
    rig.as_admin(rig.request(Method::DELETE, &path)).await.is_problem(503, "logger");
    rig.as_admin(rig.request(Method::POST, &format!("{path}/replay"))).await.is_problem(503, "logger");
    assert_eq!(items(&rig, "").await.len(), 1);
}

#[tokio::test]
async fn they_are_for_admins_and_rabbitmq_may_be_away() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let path = "/v1/dead-letters/listener.log/x";
    for request in [
        rig.get("/v1/dead-letters"),
        rig.get(path),
        rig.request(Method::DELETE, path),
        rig.request(Method::POST, "/v1/dead-letters/listener.log/x/replay"),
    ] {
        rig.as_user(request.try_clone().unwrap()).await.is_problem(403, "only an admin");
        reply(request).await.is_problem(401, "sign in first");
    }
    for query in ["queue=other", "limit=0", "colour=red"] {
        let refused = rig.as_admin(rig.get(&format!("/v1/dead-letters?{query}"))).await;
        refused.is_problem(400, query.split('=').next().unwrap());
    }
    rig.as_admin(rig.get("/v1/dead-letters/other/x")).await.is_problem(400, "no queue of this name");
    let away = rig.as_admin(rig.get("/v1/dead-letters")).await;
    away.is_problem(503, "can't be reached");
    assert!(!away.body.to_string().contains("127.0.0.1"), "an address goes out: {away:?}");
}
