//! Sign-ins and sign-outs with their records and mails, also while processes are killed.

use std::time::Duration;

use rand::seq::SliceRandom as _;
use serde_json::json;
use weft_devstack::Process;
use weft_e2e::{Kind, People, Reply, Trace, road, seeded, until};

use crate::helpers::{Own, broker, jaeger, mailbox, shared};

const SOON: Duration = Duration::from_secs(60);
const BACK_WITHIN: Duration = Duration::from_secs(90);
/// Each user signs in and out ten times, so 500 of each.
const USERS: usize = 50;

fn ends_in(trace: &Trace, service: &str, name: &str) -> anyhow::Result<()> {
    trace.is_whole()?;
    let found = trace.spans.iter().any(|span| span.service == service && span.name.starts_with(name));
    anyhow::ensure!(found, "no span `{name}` of {service} in {trace}");
    Ok(())
}

#[tokio::test]
async fn a_sign_in_and_its_record_are_one_trace() {
    let stack = shared().await;
    let (broker, jaeger) = (broker(stack), jaeger(stack));
    let reply = broker.sign_in().await.unwrap();
    assert_eq!((reply.status, reply.body["message"].as_str()), (202, Some("Authenticated!")));
    let trace_id = reply.trace_id().unwrap();
    let record = broker.entry(&[("trace_id", &trace_id)], SOON).await.unwrap();
    assert_eq!(record["service"], "authentication");
    assert_eq!(record["data"], format!("{} logged in", stack.admin().0));
    let trace = jaeger.trace(&trace_id, |trace| ends_in(trace, "logger", "insert")).await.unwrap();
    trace.only(Kind::Server, "weft.auth.v1.AuthService/SignIn").unwrap();
}

#[tokio::test]
async fn a_sign_out_and_its_mail_are_one_trace() {
    let stack = shared().await;
    let (broker, mailbox, jaeger) = (broker(stack), mailbox(stack), jaeger(stack));
    let before = mailbox.to(stack.admin().0).await.unwrap().len();
    let token = broker.token().await.unwrap();
    let reply = Reply::of(broker.post("/logout", &json!({})).bearer_auth(token)).await.unwrap();
    assert_eq!((reply.status, reply.body["message"].as_str()), (202, Some("Signed out")));
    until("the mail", SOON, async || {
        anyhow::ensure!(mailbox.to(stack.admin().0).await?.len() > before, "none");
        Ok(())
    })
    .await
    .unwrap();
    let trace_id = reply.trace_id().unwrap();
    jaeger.trace(&trace_id, |trace| ends_in(trace, "mail", "")).await.unwrap();
}

#[tokio::test]
async fn a_mail_through_rabbitmq_is_one_trace() {
    let stack = shared().await;
    let (broker, mailbox, jaeger) = (broker(stack), mailbox(stack), jaeger(stack));
    let to = format!("{}@example.com", road::unique("to"));
    let mail = json!({"from": "me@example.com", "to": to, "subject": "Tulips", "message": "<b>a & b</b>"});
    let handle = broker.at("/handle");
    let body = json!({"action": "mail", "mail": mail});
    let reply = Reply::of(broker.post("/handle", &body)).await.unwrap();
    assert_eq!(reply.status, 401, "without a sign-in: {}", reply.body);
    let reply = broker.signed_in(|http| http.post(&handle).json(&body)).await.unwrap();
    assert_eq!(
        (reply.status, reply.body["message"].as_str()),
        (202, Some(&*format!("Message sent to {to}")))
    );
    let caught = until("the mail", SOON, async || {
        let mut mails = mailbox.to(&to).await?;
        anyhow::ensure!(mails.len() == 1, "{} mails", mails.len());
        Ok(mails.remove(0))
    })
    .await
    .unwrap();
    assert_eq!(caught["subject"], "Tulips");
    assert!(
        caught["text"].as_str().unwrap().contains("<b>a & b</b>"),
        "the plain text part is escaped: {caught}"
    );
    assert!(
        caught["html"].as_str().unwrap().contains("&lt;b&gt;a &amp; b"),
        "the HTML part is not escaped: {caught}"
    );
    let trace_id = reply.trace_id().unwrap();
    let trace = jaeger.trace(&trace_id, |trace| ends_in(trace, "mail", "")).await.unwrap();
    trace.only(Kind::Consumer, "process events:mail.send").unwrap();
}

#[tokio::test]
async fn kill_9_of_each_process_loses_no_record_and_no_mail() {
    let mut chance = seeded("people");
    let own = Own::start().await;
    let stack = &own.stack;
    let mut victims: [(&str, &Process); 6] = [
        ("logger", &stack.logger),
        ("mail", &stack.mail),
        ("rabbitmq", &stack.rabbitmq),
        ("postgres", &stack.postgres),
        ("authentication", &stack.authentication),
        ("listener", &stack.listener),
    ];
    victims.shuffle(&mut chance);
    let people = People::start(&own.broker(), &mailbox(stack), USERS).await.unwrap();
    let between = People::total(USERS) / (victims.len() as u64 + 1);
    for (name, victim) in victims {
        people.advance(between, BACK_WITHIN).await.unwrap();
        assert!(!people.are_done(), "all users finished before {name} was killed");
        eprintln!("kill -9 of {name} after {between} more");
        victim.kill().await.unwrap();
        victim.start().await.unwrap();
    }
    let visits = people.finish().await.unwrap();
    eprintln!("people: {visits:?}");
    assert_eq!((visits.sign_ins, visits.sign_outs), (USERS * 10, USERS * 10));
    assert!(visits.repeated > 0, "no request met a killed process: {visits:?}");
}
