//! Checks the whole path of a request: response, stored entry and trace.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use uuid::Uuid;

use crate::{Broker, Jaeger, Kind, Reply, Span, Trace, until};

const STORED_WITHIN: Duration = Duration::from_secs(60);
/// Span names of a write: single, or with others that waited at the same time.
const WRITES: [&str; 2] = ["weft.log.v1.LogService/Write", "weft.log.v1.LogService/WriteMany"];

/// Checks `POST /handle` with action log: broker, gRPC, logger, store.
///
/// # Errors
/// When a check fails.
pub async fn by_rpc(broker: &Broker, jaeger: &Jaeger) -> Result<()> {
    let name = unique("rpc");
    let reply = broker.log(&name, "by RPC").await?;
    ensure!(reply.status == 202, "the broker failed with status {}: {}", reply.status, reply.body);
    ensure!(reply.body["message"] == format!("Processed payload via RPC:{name}"), "{}", reply.body);
    stored(broker, &reply, &name, "by RPC").await?;
    jaeger.trace(&reply.trace_id()?, is_rpc_trace).await?;
    Ok(())
}

/// Checks `POST /handle` with action event: broker, RabbitMQ, listener, gRPC, logger, store.
///
/// # Errors
/// When a check fails.
pub async fn by_event(broker: &Broker, jaeger: &Jaeger) -> Result<()> {
    let name = unique("event");
    // A broker is ready without RabbitMQ, and answers 503 until it is connected.
    let reply = until("an event to be accepted", STORED_WITHIN, async || {
        let reply = broker.event(&name, "by RabbitMQ").await?;
        ensure!(reply.status == 202, "the broker failed with status {}: {}", reply.status, reply.body);
        Ok(reply)
    })
    .await?;
    ensure!(reply.body["message"] == "logged via RabbitMQ", "{}", reply.body);
    let entry = stored(broker, &reply, &name, "by RabbitMQ").await?;
    ensure!(
        entry["id"] == reply.body["data"]["id"],
        "the event is {}, but the entry is {}",
        reply.body,
        entry
    );
    jaeger.trace(&reply.trace_id()?, is_event_trace).await?;
    Ok(())
}

/// Returns a unique name.
#[must_use]
pub fn unique(what: &str) -> String {
    format!("{what}-{}", Uuid::new_v4().simple())
}

async fn stored(broker: &Broker, reply: &Reply, name: &str, data: &str) -> Result<Value> {
    let trace_id = reply.trace_id()?;
    let entry = broker.entry(&[("text", name)], STORED_WITHIN).await?;
    ensure!(entry["name"] == name && entry["data"] == data, "stored as {entry}");
    ensure!(
        entry["trace_id"] == trace_id.as_str(),
        "the request's trace is {trace_id}, the entry is {entry}"
    );
    ensure!(entry["level"] == "INFO" && entry["time"].is_string(), "stored as {entry}");
    let by_trace = broker.entries(&[("trace_id", &trace_id)]).await?;
    ensure!(by_trace == [entry.clone()], "entries of the trace: {by_trace:?}");
    Ok(entry)
}

/// Checks a trace: SERVER, CLIENT, SERVER and the database span, each the child of the previous one.
///
/// # Errors
/// When a span is missing or wrong.
pub fn is_rpc_trace(trace: &Trace) -> Result<()> {
    trace.is_whole()?;
    let request = request(trace)?;
    ends_in_store(trace, trace.child(request, Kind::Client)?)
}

/// Checks a trace: SERVER, PRODUCER, CONSUMER, CLIENT, SERVER and the database span, each the child of the previous one. The CONSUMER
/// also links to the PRODUCER.
///
/// # Errors
/// When a span is missing or wrong.
pub fn is_event_trace(trace: &Trace) -> Result<()> {
    trace.is_whole()?;
    let producer = trace.child(request(trace)?, Kind::Producer)?;
    ensure!(producer.name.starts_with("send "), "the PRODUCER span is `{}`", producer.name);
    let consumer = trace.child(producer, Kind::Consumer)?;
    ensure!(consumer.name.starts_with("process "), "the CONSUMER span is `{}`", consumer.name);
    ensure!(consumer.links.contains(&(trace.id.clone(), producer.id.clone())), "links: {:?}", consumer.links);
    for (span, service, operation) in [(producer, "broker", "send"), (consumer, "listener", "process")] {
        ensure!(span.service == service, "`{}` is of {}", span.name, span.service);
        span.has("messaging.system", "rabbitmq")?;
        span.has("messaging.operation.type", operation)?;
        span.has("messaging.rabbitmq.destination.routing_key", "log.INFO")?;
        let named = |name| span.attributes.get(name).is_some_and(|value| !value.is_empty());
        ensure!(
            named("messaging.destination.name") && named("messaging.message.id"),
            "{:?}",
            span.attributes
        );
    }
    ends_in_store(trace, trace.child(consumer, Kind::Client)?)
}

fn request(trace: &Trace) -> Result<&Span> {
    let request = trace.only(Kind::Server, "POST /handle")?;
    ensure!(
        request.parent.is_none() && request.service == "broker",
        "`{}` is not a root span of the broker",
        request.name
    );
    request.has("http.request.method", "POST")?;
    request.has("http.route", "/handle")?;
    request.has("http.response.status_code", "202")?;
    Ok(request)
}

fn ends_in_store(trace: &Trace, call: &Span) -> Result<()> {
    let served = trace.child(call, Kind::Server)?;
    ensure!(served.service == "logger", "`{}` is of {}", served.name, served.service);
    ensure!(call.name == served.name, "`{}` was served as `{}`", call.name, served.name);
    for span in [call, served] {
        ensure!(WRITES.contains(&span.name.as_str()), "the RPC span is `{}`", span.name);
        span.has("rpc.system.name", "grpc")?;
        span.has("rpc.method", &span.name)?;
        span.has("rpc.response.status_code", "OK")?;
    }
    let insert = trace.child(served, Kind::Client).context("no database span")?;
    insert.has("db.system.name", "mongodb")?;
    insert.has("db.operation.name", "insert")?;
    insert.has("db.collection.name", "logs")?;
    let failed = trace.spans.iter().find(|span| span.failed);
    ensure!(failed.is_none(), "a span failed: {failed:?}");
    Ok(())
}
