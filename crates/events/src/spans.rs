//! Spans that follow OpenTelemetry's semantic conventions for messaging (1.44).

use opentelemetry::{Context, global, trace::TraceContextExt};
use tracing::{Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{Amqp, Received, headers::Headers};

/// A PRODUCER span, child of the current span.
pub(crate) fn send(amqp: &Amqp, exchange: &str, key: &str, id: &str, body_bytes: usize) -> Span {
    let destination = destination(exchange, key, None);
    info_span!(
        "send",
        otel.name = format!("send {destination}"),
        otel.kind = "producer",
        otel.status_code = Empty,
        otel.status_description = Empty,
        error.type = Empty,
        messaging.system = "rabbitmq",
        messaging.operation.name = "send",
        messaging.operation.type = "send",
        messaging.destination.name = destination,
        messaging.rabbitmq.destination.routing_key = key,
        messaging.message.id = id,
        messaging.message.body.size = number(body_bytes),
        server.address = amqp.host(),
        server.port = i64::from(amqp.port()),
    )
}

/// A PRODUCER span of a replay: part of the message's trace, if it has one, and linked to the current span.
pub(crate) fn send_again(amqp: &Amqp, queue: &str, id: &str, body_bytes: usize, headers: &Headers) -> Span {
    let request = Span::current().context().span().span_context().clone();
    let span = send(amqp, "", queue, id, body_bytes);
    let context = context(headers);
    if context.has_active_span() {
        // Fails only when tracing is not set up.
        let _ = span.set_parent(context);
        if request.is_valid() {
            span.add_link(request);
        }
    }
    span
}

/// Whether the message belongs to a trace.
pub(crate) fn has_context(headers: &Headers) -> bool {
    context(headers).span().span_context().is_valid()
}

/// The context in the message's headers, independent of the current one.
fn context(headers: &Headers) -> Context {
    global::get_text_map_propagator(|propagator| propagator.extract_with_context(&Context::new(), headers))
}

/// Where a delivery came from.
#[derive(Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) exchange: &'a str,
    pub(crate) key: &'a str,
    pub(crate) queue: &'a str,
}

/// A CONSUMER span, child of the publisher's span and linked to it.
pub(crate) fn process(amqp: &Amqp, origin: &Origin<'_>, event: &Received, headers: &Headers) -> Span {
    let destination = destination(origin.exchange, origin.key, Some(origin.queue));
    let span = info_span!(
        parent: None,
        "process",
        otel.name = format!("process {destination}"),
        otel.kind = "consumer",
        otel.status_code = Empty,
        otel.status_description = Empty,
        error.type = Empty,
        messaging.system = "rabbitmq",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = destination,
        messaging.rabbitmq.destination.routing_key = origin.key,
        messaging.message.id = event.id,
        messaging.message.body.size = number(event.data.len()),
        weft.event.type = event.kind,
        weft.event.attempts = i64::from(event.attempts),
        server.address = amqp.host(),
        server.port = i64::from(amqp.port()),
    );
    let context = context(headers);
    let producer = context.span().span_context().clone();
    if producer.is_valid() {
        // Fails only when tracing is not set up.
        let _ = span.set_parent(context);
        span.add_link(producer);
    }
    span
}

/// Marks a span as failed, with the kind of error and a description.
pub(crate) fn failed(span: &Span, error: Option<(&'static str, String)>) {
    if let Some((kind, text)) = error {
        span.record("otel.status_code", "ERROR");
        span.record("otel.status_description", text);
        span.record("error.type", kind);
    }
}

/// Signed, because tracing-opentelemetry exports unsigned numbers as text.
fn number(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// `{exchange}:{routing key}:{queue}`, without empty and repeated parts.
fn destination(exchange: &str, key: &str, queue: Option<&str>) -> String {
    let queue = queue.filter(|queue| *queue != key);
    let parts = [Some(exchange), Some(key), queue];
    parts.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(":")
}

#[cfg(test)]
mod tests {
    use super::destination;

    #[test]
    fn a_destination_omits_empty_and_repeated_parts() {
        assert_eq!(destination("events", "log.INFO", None), "events:log.INFO");
        assert_eq!(destination("events", "log.INFO", Some("listener.log")), "events:log.INFO:listener.log");
        assert_eq!(destination("", "listener.log", Some("listener.log")), "listener.log");
    }
}
