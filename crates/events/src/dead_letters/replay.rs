//! Publishing a dead letter again.

use lapin::BasicProperties;
use opentelemetry::global;
use tokio::time::Instant;
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use super::letter::Found;
use crate::{
    PublishError, Publisher, Queue, decode,
    headers::{self, Headers},
    lane::Message,
    republish::republished,
    spans,
};

/// What the failed attempts have left: the next one is the first again.
const HISTORY: [&str; 8] = [
    headers::ATTEMPTS,
    headers::FAILURES,
    headers::UNKNOWNS,
    headers::FIRST_ATTEMPT,
    headers::REASON,
    headers::DEAD_REASON,
    headers::DEAD_AT,
    headers::DEAD_QUEUE,
];

/// Returns when RabbitMQ has it in the queue itself: by way of the exchange, other queues would get it a second time.
pub(super) async fn publish(
    publisher: &Publisher,
    queue: Queue,
    found: &Found,
    deadline: Instant,
) -> Result<(), PublishError> {
    let body = &found.delivery.data;
    let span = spans::send_again(publisher.amqp(), queue.name(), &found.id, body.len(), &found.headers);
    let properties = properties(found, &span);
    let message = Message { exchange: "", key: queue.name().into(), properties, body };
    let published = publisher.send(&message, deadline).instrument(span.clone()).await;
    spans::failed(&span, published.as_ref().err().map(|error| (error.label(), error.to_string())));
    published
}

fn properties(found: &Found, span: &Span) -> BasicProperties {
    let old = &found.delivery.properties;
    let mut headers = found.headers.clone().carried_on().without(&HISTORY);
    headers.set_text(headers::TYPE, &found.kind);
    if let Some(id) = decode::id_of(old, &found.headers) {
        headers.set_text(headers::ID, &id);
    }
    if !spans::has_context(&headers) {
        add_context(span, &mut headers);
    }
    republished(old, headers)
}

/// For a message that had no trace: its next attempt belongs to the trace of its replay.
fn add_context(span: &Span, headers: &mut Headers) {
    global::get_text_map_propagator(|propagator| propagator.inject_context(&span.context(), headers));
}

/// What a dead letter would be published as, for the fuzz target.
#[cfg(test)]
pub(crate) fn fuzzed(delivery: lapin::message::Delivery) -> BasicProperties {
    let found = Found::new(delivery);
    let properties = properties(&found, &Span::none());
    let letter = found.letter(Queue::Log);
    assert!((1..=255).contains(&letter.id.len()) && letter.kind.len() <= 255);
    properties
}

#[cfg(test)]
mod tests {
    use lapin::{message::Delivery, types::ShortString};

    use super::*;

    #[test]
    fn a_replay_is_the_message_without_its_history() {
        let mut headers = Headers::default();
        for name in HISTORY {
            headers.set_text(name, "x");
        }
        for name in ["x-death", "traceparent", "tenant"] {
            headers.set_text(name, "kept unless RabbitMQ's");
        }
        let mut delivery = Delivery::mock(1, "".into(), "listener.log".into(), false, b"{}".to_vec());
        delivery.properties = BasicProperties::default()
            .with_message_id("7".into())
            .with_expiration("5".into())
            .with_headers(headers.into_table());
        let new = properties(&Found::new(delivery), &Span::none());
        assert_eq!(new.message_id().as_ref().map(ShortString::as_str), Some("7"));
        assert_eq!(*new.expiration(), None);
        let headers = new.headers().clone().unwrap();
        let names: Vec<_> = headers.inner().keys().map(ShortString::as_str).collect();
        assert_eq!(names, [headers::ID, headers::TYPE, "tenant", "traceparent"]);
    }

    #[test]
    fn a_message_without_an_id_stays_without_so_that_two_alike_are_two_events() {
        let delivery = Delivery::mock(1, "".into(), "listener.log".into(), false, b"{}".to_vec());
        let new = properties(&Found::new(delivery), &Span::none());
        assert!(!new.headers().as_ref().unwrap().contains_key(headers::ID));
    }
}
