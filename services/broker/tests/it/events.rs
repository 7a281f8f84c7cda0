use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use weft_devstack::{RabbitMq, ServiceOptions};
use weft_events::{
    Amqp, ConsumerOptions, Consumers, EventMetrics, Handler, Outcome, Publisher, Queue, Received,
};
use weft_runtime::clock;
use weft_runtime::lifecycle::Shutdown;
use weft_runtime::metrics::Metrics;

use crate::authentication::{SESSION, USER, forged};
use crate::rig::{Rig, reply};

/// Records every event, and returns this outcome.
struct Recorder(UnboundedSender<Received>, fn() -> Outcome);

#[tonic::async_trait]
impl Handler for Recorder {
    async fn handle(&self, event: &Received) -> Outcome {
        let _ = self.0.send(event.clone());
        (self.1)()
    }
}

/// Starts a consumer in place of the listener.
pub(crate) fn consume(
    rabbitmq: &RabbitMq,
    queue: Queue,
    outcome: fn() -> Outcome,
) -> (UnboundedReceiver<Received>, Shutdown) {
    let (sender, receiver) = unbounded_channel();
    let metrics = EventMetrics::register(&Metrics::default());
    let publisher = Publisher::start(Amqp::parse(&rabbitmq.uri().into()).unwrap(), metrics.clone());
    let options = ConsumerOptions::default();
    let consumers = Consumers::start(publisher, clock::system(), metrics);
    let consumer = consumers.of(queue, options, Recorder(sender, outcome));
    let shutdown = Shutdown::default();
    tokio::spawn(consumer.run(shutdown.clone()));
    (receiver, shutdown)
}

fn mail() -> Value {
    json!({"from": "me@example.com", "to": "you@example.com", "subject": "Hi", "message": "two\nlines"})
}

#[tokio::test]
async fn publishes_mails_of_signed_in_users_as_events() {
    let rig = Rig::with_rabbitmq().await;
    let (mut mails, _running) = consume(rig.rabbitmq.as_ref().unwrap(), Queue::Mail, || Outcome::Done);
    let action = json!({"action": "mail", "mail": mail()});
    assert_eq!(reply(rig.post("/handle", &action)).await.status, 401);
    let sent = rig.as_user(rig.post("/handle", &action).header("idempotency-key", "a mail")).await;
    assert_eq!((sent.status, &sent.body["message"]), (202, &json!("Message sent to you@example.com")));
    let event = mails.recv().await.unwrap();
    assert_eq!(event.id, sent.body["data"]["id"]);
    assert_eq!((event.kind.as_str(), event.source.as_str()), ("mail.send", "broker"));
    assert_eq!(event.json::<Value>().unwrap(), mail());
    let mut injected = mail();
    injected["subject"] = json!("Hi\r\nBcc: x@y.z");
    let refused = rig.as_user(rig.post("/handle", &json!({"action": "mail", "mail": injected}))).await;
    assert_eq!(refused.status, 400);
    assert!(refused.body["message"].as_str().unwrap().starts_with("mail.subject"), "{refused:?}");
}

#[tokio::test]
async fn publishes_batches_with_a_result_for_each_event() {
    let rig = Rig::with_rabbitmq().await;
    let (mut logs, _running) = consume(rig.rabbitmq.as_ref().unwrap(), Queue::Log, || Outcome::Done);
    let one = json!({"type": "log.WARNING", "data": {"name": "n", "data": "d"}, "id": SESSION});
    let single = rig.as_user(rig.post("/v1/events", &one)).await;
    let event = logs.recv().await.unwrap();
    assert_eq!(
        (single.status, &single.body),
        (202, &json!({"results": [{"id": SESSION, "event_id": event.id, "status": "accepted"}]}))
    );
    assert_eq!(event.kind, "log.WARNING");

    let many = json!([one, {"type": "log.LOUD", "data": {}}, 5, {"type": "mail.send", "data": mail()}]);
    let several = rig.as_user(rig.post("/v1/events", &many)).await;
    let results = several.body["results"].as_array().unwrap();
    let statuses: Vec<&str> = results.iter().map(|result| result["status"].as_str().unwrap()).collect();
    assert_eq!((several.status, statuses), (202, vec!["accepted", "rejected", "rejected", "accepted"]));
    assert!(results[1]["detail"].as_str().unwrap().contains("log.ERROR"));
    assert_eq!(results[2]["id"], Value::Null);

    let thousand: Vec<Value> =
        (0..1_000).map(|n| json!({"type": "log.INFO", "data": {"name": n.to_string()}})).collect();
    let all = || rig.post("/v1/events", &json!(thousand)).header("idempotency-key", "batch");
    let (first, repeated) = (rig.as_user(all()).await, rig.as_user(all()).await);
    let accepted = first.body["results"].as_array().unwrap();
    assert!(accepted.len() == 1_000 && accepted.iter().all(|result| result["status"] == "accepted"));
    assert_eq!(first.body, repeated.body, "a repeat got other ids");
    let more: Vec<Value> = (0..1_001).map(|_| one.clone()).collect();
    rig.as_user(rig.post("/v1/events", &json!(more))).await.is_problem(400, "1001 events");
}

#[tokio::test]
async fn a_single_event_that_fails_is_an_error() {
    let rig = Rig::start(ServiceOptions::default().env("BROKER_PUBLISH_TIMEOUT", "200ms")).await;
    for (body, part) in [
        (json!([]), "0 events"),
        (json!(5), "an object with type and data"),
        (json!({"type": "log.INFO"}), "missing field `data`"),
        (json!({"type": "x", "data": {}}), "unknown event type"),
        (json!({"type": "log.INFO", "data": {"name": ""}}), "data.name: the name is empty"),
        (json!({"type": "log.INFO", "data": {"name": "n"}, "id": "x"}), "id: "),
        (json!({"type": "log.INFO", "data": {"name": "n"}, "id": uuid::Uuid::nil()}), "nil UUID"),
    ] {
        rig.as_user(rig.post("/v1/events", &body)).await.is_problem(400, part);
    }
    let good = json!({"type": "log.INFO", "data": {"name": "n"}});
    let away = rig.as_user(rig.post("/v1/events", &good)).await;
    away.is_problem(503, "RabbitMQ can't be reached");
    assert_eq!(away.header("retry-after"), "1");
    let both = rig.as_user(rig.post("/v1/events", &json!([good, good]))).await;
    assert_eq!((both.status, &both.body["results"][1]["status"]), (202, &json!("unavailable")));
}

#[tokio::test]
async fn an_idempotency_key_belongs_to_one_caller_operation_and_content() {
    let rig = Rig::with_rabbitmq().await;
    let (mut logs, _logs) = consume(rig.rabbitmq.as_ref().unwrap(), Queue::Log, || Outcome::Done);
    let (mut mails, _mails) = consume(rig.rabbitmq.as_ref().unwrap(), Queue::Mail, || Outcome::Done);
    let log = |path: &str, data: &str| {
        let body = json!({"action": "log", "log": {"name": "n", "data": data}});
        rig.post(path, &body).header("idempotency-key", "order-17")
    };
    let stored = || rig.entries.lock().unwrap().len();

    // With sign-in, the logger compares the content.
    let first = rig.as_user(log("/handle", "first")).await;
    let again = rig.as_user(log("/handle", "first")).await;
    assert_eq!((first.status, &first.body, stored()), (202, &again.body, 1));
    assert_eq!(
        (rig.as_user(log("/log-grpc", "first")).await.status, stored()),
        (202, 1),
        "the same operation"
    );
    for path in ["/handle", "/log-grpc"] {
        let refused = rig.as_user(log(path, "second")).await;
        assert_eq!(refused.status, 422, "{refused:?}");
        assert!(
            refused.body["message"].as_str().unwrap().starts_with("Idempotency-Key: conflict"),
            "{refused:?}"
        );
    }
    // Without sign-in, other content is another entry.
    for (data, count) in [("first", 2), ("first", 2), ("second", 3)] {
        assert_eq!((reply(log("/handle", data)).await.status, stored()), (202, count), "{data}");
    }
    let refused =
        reply(log("/handle", "first").bearer_auth(forged(1, |_, claims| claims["exp"] = json!(1)))).await;
    assert_eq!(refused.status, 401, "a token sent with an open action is checked: {refused:?}");

    // Events and mails: other content is another event.
    let event = |data: &str| {
        let body = json!({"action": "event", "event": {"name": "n", "data": data}});
        rig.post("/handle", &body).header("idempotency-key", "order-17")
    };
    let mut ids = std::collections::BTreeSet::new();
    for (caller, data, new) in
        [(true, "first", true), (true, "first", false), (true, "second", true), (false, "first", true)]
    {
        let sent = if caller { rig.as_user(event(data)).await } else { reply(event(data)).await };
        let id = logs.recv().await.unwrap().id;
        assert_eq!((sent.status, &sent.body["data"]["id"]), (202, &json!(id)));
        assert_eq!(ids.insert(id), new, "{caller} {data}");
    }
    let send = |message: &str| {
        let mut mail = mail();
        mail["message"] = json!(message);
        rig.post("/handle", &json!({"action": "mail", "mail": mail})).header("idempotency-key", "order-17")
    };
    for (message, new) in [("first", true), ("first", false), ("second", true)] {
        assert_eq!(rig.as_user(send(message)).await.status, 202);
        assert_eq!(ids.insert(mails.recv().await.unwrap().id), new, "{message}");
    }
    assert!(
        rig.entries.lock().unwrap().iter().all(|entry| !ids.contains(&entry.id)),
        "log and event share an id"
    );
}

#[tokio::test]
async fn a_repeated_id_in_a_batch_is_the_same_event_or_a_conflict() {
    let rig = Rig::with_rabbitmq().await;
    let (mut logs, _running) = consume(rig.rabbitmq.as_ref().unwrap(), Queue::Log, || Outcome::Done);
    let item = |data: &str| json!({"type": "log.INFO", "data": {"name": "n", "data": data}, "id": SESSION});
    let wrong = json!({"type": "log.INFO", "data": {"name": ""}, "id": USER});
    let right = json!({"type": "log.INFO", "data": {"name": "last"}, "id": USER});
    let nil = json!({"type": "log.INFO", "data": {"name": "n"}, "id": uuid::Uuid::nil()});
    let batch = json!([item("first"), item("second"), item("first"), wrong, right, nil]);
    let sent = rig.as_user(rig.post("/v1/events", &batch)).await;
    let results = sent.body["results"].as_array().unwrap();
    let statuses: Vec<&str> = results.iter().map(|result| result["status"].as_str().unwrap()).collect();
    assert_eq!(
        statuses,
        ["accepted", "rejected", "accepted", "rejected", "accepted", "rejected"],
        "{sent:?}"
    );
    assert!(results[1]["detail"].as_str().unwrap().starts_with("[1].id: conflict"), "{sent:?}");
    assert!(results[5]["detail"].as_str().unwrap().starts_with("[5].id: the nil UUID"), "{sent:?}");
    assert_eq!((&results[0], results[0]["id"].as_str()), (&results[2], Some(SESSION)));
    let mut published = [logs.recv().await.unwrap(), logs.recv().await.unwrap()].map(|event| event.id);
    published.sort_unstable();
    let mut returned =
        [&results[0], &results[4]].map(|result| result["event_id"].as_str().unwrap().to_owned());
    returned.sort_unstable();
    assert_eq!(published, returned);

    // In another request, the same id with other content is another event, and with the same content the same event.
    let mut ids = std::collections::BTreeSet::from(returned);
    for (data, new) in [("first", false), ("second", true), ("second", false)] {
        let sent = rig.as_user(rig.post("/v1/events", &json!([item(data)]))).await;
        let id = logs.recv().await.unwrap().id;
        assert_eq!(sent.body["results"][0]["event_id"], json!(id), "the batch published one of them twice");
        assert_eq!(ids.insert(id), new, "{data}");
    }
}

fn actions() -> [(&'static str, Value); 4] {
    let entry = json!({"name": "n", "data": "d"});
    [
        ("/handle", json!({"action": "log", "log": entry})),
        ("/log-grpc", json!({"action": "log", "log": entry})),
        ("/handle", json!({"action": "event", "event": entry})),
        ("/handle", json!({"action": "mail", "mail": mail()})),
    ]
}

#[tokio::test]
async fn closed_actions_require_sign_in() {
    let options =
        ServiceOptions::default().env("BROKER_OPEN_ACTIONS", "").env("BROKER_PUBLISH_TIMEOUT", "200ms");
    let rig = Rig::start(options).await;
    for (path, body) in actions() {
        let refused = reply(rig.post(path, &body)).await;
        assert_eq!((refused.status, &refused.body["error"]), (401, &json!(true)), "{path} {body}");
    }
    assert!(rig.entries.lock().unwrap().is_empty());
    // RabbitMQ is not running: actions that publish answer 503.
    for ((path, body), status) in actions().into_iter().zip([202, 202, 503, 503]) {
        assert_eq!(rig.as_user(rig.post(path, &body)).await.status, status, "{path} {body}");
    }
}

#[tokio::test]
async fn open_actions_need_no_sign_in() {
    let options = ServiceOptions::default()
        .env("BROKER_OPEN_ACTIONS", "log,event,mail")
        .env("BROKER_PUBLISH_TIMEOUT", "200ms");
    let rig = Rig::start(options).await;
    for ((path, body), status) in actions().into_iter().zip([202, 202, 503, 503]) {
        assert_eq!(reply(rig.post(path, &body)).await.status, status, "{path} {body}");
    }
}
