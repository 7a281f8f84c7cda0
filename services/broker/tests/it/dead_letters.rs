use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;
use weft_devstack::ServiceOptions;
use weft_events::{Outcome, Queue};
use weft_proto::weft::deadletter::v1::{Content, Letter};

use crate::authentication::USER;
use crate::events::consume;
use crate::letters::Letters;
use crate::rig::{Rig, reply};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
/// AMQP encoding of an empty property list.
const NO_PROPERTIES: [u8; 2] = [0, 0];

/// Adds a dead letter to a fake service, and returns its id.
fn add(letters: &Letters, queue: &str, kind: &str, body: &[u8]) -> String {
    let id = Uuid::new_v4().to_string();
    let letter = Letter {
        id: id.clone(),
        queue: queue.into(),
        event_id: USER.into(),
        r#type: kind.into(),
        source: "test".into(),
        dead_at: Some(prost_types::Timestamp { seconds: 1_767_323_045, nanos: 0 }),
        reason: "no reason".into(),
        attempts: 5,
        trace_id: TRACE.into(),
        size: body.len() as u64,
        ..Letter::default()
    };
    let content = Content { properties: NO_PROPERTIES.to_vec(), body: body.to_vec() };
    letters.all.lock().unwrap().push((letter, content));
    id
}

fn names(rig: &Rig) -> Vec<String> {
    rig.entries.lock().unwrap().iter().map(|entry| entry.name.clone()).collect()
}

async fn items(rig: &Rig, query: &str) -> Vec<Value> {
    let listed = rig.as_admin(rig.get(&format!("/v1/dead-letters{query}"))).await;
    assert_eq!(listed.status, 200, "{listed:?}");
    listed.body["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn lists_shows_replays_and_discards_dead_letters_with_audit_records() {
    let rig = Rig::with_rabbitmq().await;
    let one = add(&rig.letters, "listener.log", "log.INFO", br#"{"name":"n","data":"d"}"#);
    let two = add(&rig.letters, "listener.log", "log.ERROR", b"\xff");
    assert_eq!(items(&rig, "?queue=listener.log&limit=1").await.len(), 1);
    assert!(items(&rig, "?queue=listener.mail").await.is_empty());
    assert_eq!(items(&rig, "?type=log.ERROR&reason=no").await[0]["id"], two);
    let listed = items(&rig, "").await;
    assert_eq!(listed.len(), 2);
    assert_eq!(
        listed[0],
        json!({"queue": "listener.log", "id": one, "event_id": USER, "type": "log.INFO", "source": "test",
            "time": null, "dead_at": "2026-01-02T03:04:05Z", "reason": "no reason", "attempts": 5,
            "trace_id": TRACE, "size": 23, "replaying_since": null})
    );

    let path = |id: &str| format!("/v1/dead-letters/listener.log/{id}");
    let shown = rig.as_admin(rig.get(&path(&one))).await;
    assert_eq!((shown.status, &shown.body["data"]), (200, &json!({"name": "n", "data": "d"})));
    assert_eq!(shown.body["trace_id"], TRACE);
    let other = format!("/v1/dead-letters/listener.mail/{one}");
    rig.as_admin(rig.get(&other)).await.is_problem(404, "dead letter not found");

    let (mut replayed, _running) = consume(rig.rabbitmq.as_ref().unwrap(), Queue::Log, || Outcome::Done);
    let replay = rig.as_admin(rig.request(Method::POST, &format!("{}/replay", path(&one)))).await;
    assert_eq!(replay.status, 202, "{replay:?}");
    let event = replayed.recv().await.unwrap();
    assert_eq!(
        (event.kind.as_str(), event.data.as_slice()),
        ("log.INFO", &br#"{"name":"n","data":"d"}"#[..])
    );
    let discard = || rig.request(Method::DELETE, &path(&two));
    assert_eq!(rig.as_admin(discard()).await.status, 204);
    rig.as_admin(discard()).await.is_problem(404, "dead letter not found");
    rig.as_admin(rig.get(&path(&one))).await.is_problem(404, "dead letter not found");
    assert!(items(&rig, "").await.is_empty());

    assert_eq!(names(&rig), ["dead letter replayed", "dead letter discarded"]);
    let written = rig.entries.lock().unwrap()[0].clone();
    assert_eq!((written.service.as_str(), written.trace_id.len()), ("broker.audit", 32));
    for (key, value) in
        [("user", USER), ("queue", "listener.log"), ("id", USER), ("type", "log.INFO"), ("letter", &one)]
    {
        assert_eq!(written.attributes[key], value);
    }

    // Entries that clients write have another service, whatever their name.
    let forged = json!({"action": "log", "log": {"name": "dead letter discarded", "data": "by nobody"}});
    assert_eq!(rig.as_admin(rig.post("/handle", &forged)).await.status, 202);
    let forged = rig.entries.lock().unwrap().last().unwrap().clone();
    assert_eq!((forged.service.as_str(), forged.data.as_str()), ("broker", "by nobody"));
}

#[tokio::test]
async fn replays_and_discards_by_filter_at_most_100_per_call() {
    let rig = Rig::with_rabbitmq().await;
    for n in 0..130 {
        add(
            &rig.letters,
            "listener.log",
            "log.INFO",
            json!({"name": n.to_string(), "data": ""}).to_string().as_bytes(),
        );
    }
    add(&rig.letters, "listener.log", "log.ERROR", b"{}");
    let call = |method: Method, path: &str| rig.as_admin(rig.request(method, path));
    for path in ["/v1/dead-letters", "/v1/dead-letters?queue=listener.log&limit=101"] {
        assert_eq!(call(Method::DELETE, path).await.status, 400, "{path}");
    }
    let (mut replayed, _running) = consume(rig.rabbitmq.as_ref().unwrap(), Queue::Log, || Outcome::Done);
    let path = "/v1/dead-letters/replay?queue=listener.log&type=log.INFO";
    let first = call(Method::POST, path).await;
    assert_eq!((first.status, &first.body), (200, &json!({"count": 100, "more": true})));
    for _ in 0..100 {
        replayed.recv().await.unwrap();
    }
    let discard = "/v1/dead-letters?queue=listener.log&type=log.INFO&limit=20";
    assert_eq!(call(Method::DELETE, discard).await.body, json!({"count": 20, "more": true}));
    assert_eq!(call(Method::DELETE, discard).await.body, json!({"count": 10, "more": false}));
    assert_eq!(call(Method::DELETE, discard).await.body, json!({"count": 0, "more": false}));
    assert_eq!(items(&rig, "").await[0]["type"], "log.ERROR");
    assert_eq!(names(&rig).len(), 130);
}

#[tokio::test]
async fn the_queue_outbox_has_the_failed_outbox_rows() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let (one, two) = (add(&rig.outbox, "outbox", "mail", b"{}"), add(&rig.outbox, "outbox", "logger", b"{}"));
    assert!(items(&rig, "").await.is_empty());
    assert_eq!(items(&rig, "?queue=outbox").await.len(), 2);
    let path = |id: &str| format!("/v1/dead-letters/outbox/{id}");
    assert_eq!(rig.as_admin(rig.get(&path(&one))).await.body["data"], json!({}));
    // Authentication delivers the mail itself: this test runs without RabbitMQ.
    let replay = rig.as_admin(rig.request(Method::POST, &format!("{}/replay", path(&one)))).await;
    assert_eq!((replay.status, rig.outbox.replayed.lock().unwrap().clone()), (202, vec![one]));
    assert_eq!(rig.as_admin(rig.request(Method::DELETE, &path(&two))).await.status, 204);
    assert!(items(&rig, "?queue=outbox").await.is_empty());
    assert_eq!(names(&rig).len(), 2);
}

#[tokio::test]
async fn parallel_replays_publish_the_event_once() {
    let rig = Rig::with_rabbitmq().await;
    let (mut replayed, _running) = consume(rig.rabbitmq.as_ref().unwrap(), Queue::Log, || Outcome::Done);
    let ids: Vec<String> = (0..10).map(|_| add(&rig.letters, "listener.log", "log.INFO", b"{}")).collect();
    for id in &ids {
        let path = format!("/v1/dead-letters/listener.log/{id}/replay");
        let replays = join_all((0..10).map(|_| rig.as_admin(rig.request(Method::POST, &path)))).await;
        let won = replays.iter().filter(|reply| reply.status == 202).count();
        assert_eq!(won, 1, "{replays:?}");
        for reply in replays.iter().filter(|reply| reply.status != 202 && reply.status != 404) {
            reply.is_problem(409, "another replay of this dead letter");
        }
    }
    for _ in &ids {
        replayed.recv().await.unwrap();
    }
    // Events are consumed in order, so a second copy would come before this one.
    let last = add(&rig.letters, "listener.log", "log.ERROR", b"{}");
    let path = format!("/v1/dead-letters/listener.log/{last}/replay");
    assert_eq!(rig.as_admin(rig.request(Method::POST, &path)).await.status, 202);
    assert_eq!(replayed.recv().await.unwrap().kind, "log.ERROR");
}

#[tokio::test]
async fn a_replay_by_filter_skips_dead_letters_that_are_being_replayed() {
    let rig = Rig::with_rabbitmq().await;
    let running = add(&rig.letters, "listener.log", "log.INFO", b"{}");
    rig.letters.mark(&running, Some(prost_types::Timestamp::default()));
    add(&rig.letters, "listener.log", "log.INFO", b"{}");
    let path = "/v1/dead-letters/replay?queue=listener.log";
    let replay = rig.as_admin(rig.request(Method::POST, path)).await;
    assert_eq!((replay.status, &replay.body), (200, &json!({"count": 1, "more": false})));
    assert_eq!(items(&rig, "").await[0]["id"], running);
}

#[tokio::test]
async fn keeps_a_dead_letter_whose_event_is_not_published() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let id = add(&rig.letters, "listener.log", "log.INFO", b"{}");
    let path = format!("/v1/dead-letters/listener.log/{id}");
    for _ in 0..2 {
        let replay = rig.as_admin(rig.request(Method::POST, &format!("{path}/replay"))).await;
        replay.is_problem(503, "RabbitMQ can't be reached in time; nothing was acknowledged");
        assert_eq!(items(&rig, "").await[0]["replaying_since"], Value::Null);
    }
}

#[tokio::test]
async fn does_nothing_without_an_audit_record() {
    let rig = Rig::with_rabbitmq().await;
    let id = add(&rig.outbox, "outbox", "mail", b"{}");
    rig.stop_logger().await;
    let path = format!("/v1/dead-letters/outbox/{id}");
    rig.as_admin(rig.request(Method::DELETE, &path)).await.is_problem(503, "logger");
    rig.as_admin(rig.request(Method::POST, &format!("{path}/replay"))).await.is_problem(503, "logger");
    assert_eq!(items(&rig, "?queue=outbox").await.len(), 1);
}

#[tokio::test]
async fn dead_letters_require_a_role_and_a_reachable_logger() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let path = format!("/v1/dead-letters/listener.log/{USER}");
    for request in [
        rig.get("/v1/dead-letters"),
        rig.get(&path),
        rig.request(Method::DELETE, &path),
        rig.request(Method::POST, &format!("{path}/replay")),
        rig.request(Method::DELETE, "/v1/dead-letters?queue=listener.log"),
        rig.request(Method::POST, "/v1/dead-letters/replay?queue=listener.log"),
    ] {
        rig.as_user(request.try_clone().unwrap()).await.is_problem(403, "yours is user");
        reply(request).await.is_problem(401, "sign in first");
    }
    for query in ["queue=other", "limit=0", "colour=red", "from=yesterday", "cursor=x"] {
        let refused = rig.as_admin(rig.get(&format!("/v1/dead-letters?{query}"))).await;
        refused.is_problem(400, query.split('=').next().unwrap());
    }
    rig.as_admin(rig.get("/v1/dead-letters/other/x")).await.is_problem(400, "invalid queue");
    rig.as_admin(rig.get("/v1/dead-letters/listener.log/x")).await.is_problem(404, "dead letter not found");
    rig.stop_logger().await;
    let away = rig.as_admin(rig.get("/v1/dead-letters")).await;
    away.is_problem(503, "can't be reached");
    assert!(!away.body.to_string().contains("127.0.0.1"), "the reply has an address: {away:?}");
}
