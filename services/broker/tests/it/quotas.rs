//! Quotas of writes without sign-in, and of mails.

use std::net::IpAddr;

use serde_json::{Value, json};
use weft_devstack::ServiceOptions;

use crate::rig::{Reply, Rig, reply};

fn log(bytes: usize) -> Value {
    json!({"action": "log", "log": {"name": "open", "data": "x".repeat(bytes)}})
}

fn mail(to: &str) -> Value {
    json!({"from": "me@example.com", "to": to, "subject": "Hi", "message": "text"})
}

fn assert_limited(reply: &Reply, part: &str, period_seconds: u64) {
    assert_eq!((reply.status, &reply.body["error"]), (429, &json!(true)), "{reply:?}");
    assert!(reply.body["message"].as_str().unwrap().contains(part), "{reply:?}");
    let wait: u64 = reply.header("retry-after").parse().unwrap();
    assert!(wait <= period_seconds && wait > period_seconds - 600, "{wait}");
}

#[tokio::test]
async fn limits_bytes_a_day_by_address_without_sign_in() {
    let rig = Rig::start(ServiceOptions::default().env("BROKER_OPEN_BYTES_PER_DAY", "3000")).await;
    // Fails because RabbitMQ is not running, so it does not count.
    let event = json!({"action": "event", "event": {"name": "open", "data": "x".repeat(2_000)}});
    assert_eq!(reply(rig.post("/handle", &event)).await.status, 503);
    assert_eq!(reply(rig.post("/handle", &log(1_200))).await.status, 202);
    assert_eq!(reply(rig.post("/log-grpc", &log(1_200))).await.status, 202);
    for path in ["/handle", "/log-grpc"] {
        assert_limited(&reply(rig.post(path, &log(1_200))).await, "3000 bytes a day", 86_400);
    }
    assert_limited(&reply(rig.post("/handle", &event)).await, "3000 bytes a day", 86_400);
    // A smaller write still fits.
    assert_eq!(reply(rig.post("/handle", &log(100))).await.status, 202);
    // The limit does not apply to signed-in users or other addresses.
    assert_eq!(rig.as_user(rig.post("/handle", &log(1_200))).await.status, 202);
    let elsewhere = reqwest::Client::builder().no_proxy().local_address(IpAddr::from([127, 0, 0, 2]));
    let url = format!("{}/handle", rig.broker.http_url());
    assert_eq!(reply(elsewhere.build().unwrap().post(url).json(&log(1_200))).await.status, 202);
}

#[tokio::test]
async fn limits_mails_by_user_and_by_recipient() {
    let options = ServiceOptions::default()
        .env("BROKER_USER_MAILS_PER_HOUR", "4")
        .env("BROKER_RECIPIENT_MAILS_PER_HOUR", "2")
        .env("BROKER_OPEN_ACTIONS", "mail");
    let rig = Rig::with_rabbitmq_and(options).await;
    let send = |to: &str| rig.post("/handle", &json!({"action": "mail", "mail": mail(to)}));
    let event = |to: &str| json!({"type": "mail.send", "data": mail(to)});
    assert_eq!(rig.as_user(send("you@example.com")).await.status, 202);
    assert_eq!(rig.as_user(rig.post("/v1/events", &event("YOU@example.com"))).await.status, 202);
    assert_limited(&rig.as_user(send("you@Example.com")).await, "2 an hour to one recipient", 3_600);
    rig.as_user(rig.post("/v1/events", &event("you@example.com"))).await.is_problem(429, "one recipient");

    // Two more of this user are accepted, a third one is not.
    let many = json!([event("a@b.c"), event("you@example.com"), event("b@b.c"), event("c@b.c")]);
    let several = rig.as_user(rig.post("/v1/events", &many)).await;
    let statuses: Vec<_> =
        several.body["results"].as_array().unwrap().iter().map(|result| &result["status"]).collect();
    assert_eq!(statuses, ["accepted", "unavailable", "accepted", "unavailable"], "{several:?}");
    assert_limited(&rig.as_user(send("d@b.c")).await, "4 an hour from one user", 3_600);

    // The limit by recipient applies to all senders. Without sign-in, the client address is the sender.
    assert_limited(&reply(send("you@example.com")).await, "one recipient", 3_600);
    assert_eq!(reply(send("d@b.c")).await.status, 202);
}
