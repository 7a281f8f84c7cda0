use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use weft_e2e::{Kind, Reply, Trace, road, until};

use crate::place::Place;

const SOON: Duration = Duration::from_secs(60);

pub(crate) async fn stores_an_entry_by_rpc_in_one_trace(place: &Place) -> Result<()> {
    road::by_rpc(place.broker()?, place.jaeger()?).await
}

pub(crate) async fn stores_an_event_through_rabbitmq_in_one_trace(place: &Place) -> Result<()> {
    road::by_event(place.broker()?, place.jaeger()?).await
}

/// Checks that the trace is complete and has spans of all these services.
fn spans(trace: &Trace, services: &[&str]) -> Result<()> {
    trace.is_whole()?;
    let found: BTreeSet<&str> = trace.spans.iter().map(|span| span.service.as_str()).collect();
    let missing: Vec<_> = services.iter().filter(|service| !found.contains(*service)).collect();
    ensure!(missing.is_empty(), "no spans of {missing:?} in {trace}");
    Ok(())
}

async fn is_one_trace(place: &Place, reply: &Reply, services: &[&str]) -> Result<Trace> {
    place.jaeger()?.trace(&reply.trace_id()?, |trace| spans(trace, services)).await
}

pub(crate) async fn records_a_sign_in_in_one_trace(place: &Place) -> Result<()> {
    let reply = place.broker()?.sign_in().await?;
    ensure!(
        reply.status == 202 && reply.body["message"] == "Authenticated!",
        "{} {}",
        reply.status,
        reply.body
    );
    ensure!(reply.body["data"]["email"] == place.email()?, "{}", reply.body);
    let record = place.broker()?.entry(&[("trace_id", &reply.trace_id()?)], SOON).await?;
    ensure!(record["service"] == "authentication", "the record is {record}");
    ensure!(record["data"] == format!("{} logged in", place.email()?), "the record is {record}");
    is_one_trace(place, &reply, &["broker", "authentication", "logger"]).await?;
    Ok(())
}

pub(crate) async fn sends_a_mail_of_a_signed_in_user_through_rabbitmq(place: &Place) -> Result<()> {
    let to = format!("{}@example.com", road::unique("to"));
    let mail = json!({"from": "me@example.com", "to": to, "subject": "Tulips", "message": "in a blue vase"});
    let body = json!({"action": "mail", "mail": mail});
    let reply = Reply::of(place.broker()?.post("/handle", &body)).await?;
    ensure!(reply.status == 401, "without a sign-in: {} {}", reply.status, reply.body);
    let handle = place.broker()?.at("/handle");
    let reply = place.broker()?.signed_in(|http| http.post(&handle).json(&body)).await?;
    ensure!(reply.status == 202, "{} {}", reply.status, reply.body);
    let caught = mail_to(place, &to).await?;
    ensure!(caught["subject"] == "Tulips", "caught {caught}");
    let trace = is_one_trace(place, &reply, &["broker", "listener", "mail"]).await?;
    trace.only(Kind::Consumer, "process events:mail.send")?;
    Ok(())
}

pub(crate) async fn log_grpc_is_one_trace(place: &Place) -> Result<()> {
    let name = road::unique("rpc-alone");
    let body = json!({"action": "log", "log": {"name": name, "data": "by gRPC"}});
    let reply = Reply::of(place.broker()?.post("/log-grpc", &body)).await?;
    ensure!(reply.status == 202 && reply.body["message"] == "logged", "{} {}", reply.status, reply.body);
    place.broker()?.entry(&[("text", &name)], SOON).await?;
    is_one_trace(place, &reply, &["broker", "logger"]).await?;
    Ok(())
}

pub(crate) async fn sends_the_mail_of_a_sign_out_in_one_trace(place: &Place) -> Result<()> {
    let before = place.mailbox()?.to(place.email()?).await?.len();
    let signed_in = place.broker()?.sign_in().await?;
    let token = signed_in.body["data"]["access_token"].as_str().context("no access token")?;
    let reply = Reply::of(place.broker()?.post("/logout", &json!({})).bearer_auth(token)).await?;
    ensure!(reply.status == 202 && reply.body["message"] == "Signed out", "{} {}", reply.status, reply.body);
    until("the mail of the sign-out", SOON, async || {
        let now = place.mailbox()?.to(place.email()?).await?.len();
        ensure!(now > before, "still {now} mails");
        Ok(())
    })
    .await?;
    is_one_trace(place, &reply, &["broker", "authentication", "mail"]).await?;
    Ok(())
}

async fn mail_to(place: &Place, to: &str) -> Result<Value> {
    until(&format!("the mail to {to}"), SOON, async || {
        let mut mails = place.mailbox()?.to(to).await?;
        ensure!(mails.len() == 1, "{} mails", mails.len());
        Ok(mails.remove(0))
    })
    .await
}
