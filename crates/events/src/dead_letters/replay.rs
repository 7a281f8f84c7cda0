//! Replay: publishing a stored dead letter again.

use lapin::{BasicProperties, protocol::basic::parse_properties};
use opentelemetry::global;
use tokio::time::Instant;
use tracing::{Instrument, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{
    PublishError, Publisher, Queue, decode,
    headers::{self, Headers},
    lane::Message,
    republish::republished,
    spans,
};

/// Headers about failed attempts. They are removed, so that the next attempt counts as the first.
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

impl Publisher {
    /// Publishes a dead letter again, only to the queue whose consumer failed, as if it had never been tried. Returns when RabbitMQ
    /// has it on disk.
    ///
    /// `kind` and `properties` are those of the [`DeadLetter`](crate::DeadLetter). Id, type and trace stay the same. A message
    /// without an id gets none, so that two identical messages are two events.
    ///
    /// # Errors
    /// The same as [`Publisher::publish`].
    pub async fn replay(
        &self,
        queue: Queue,
        kind: &str,
        properties: &[u8],
        body: &[u8],
        deadline: Instant,
    ) -> Result<(), PublishError> {
        let Ok((_, old)) = parse_properties(properties) else { return Err(PublishError::Malformed) };
        let headers = Headers::of(old.headers().as_ref());
        let id = decode::id_of(&old, &headers).unwrap_or_default();
        // The default exchange: through `events`, other queues would get the event a second time.
        let span = spans::send_again(self.amqp(), queue.name(), &id, body.len(), &headers);
        let properties = replay_properties(&old, headers, kind, &span);
        let message = Message { exchange: "", key: queue.name().into(), properties, body };
        let published = self.send(&message, deadline).instrument(span.clone()).await;
        spans::failed(&span, published.as_ref().err().map(|error| (error.label(), error.to_string())));
        published
    }
}

fn replay_properties(old: &BasicProperties, headers: Headers, kind: &str, span: &Span) -> BasicProperties {
    let id = decode::id_of(old, &headers);
    let mut headers = headers.carried_on().without(&HISTORY);
    headers.set_text(headers::TYPE, kind);
    if let Some(id) = id {
        headers.set_text(headers::ID, &id);
    }
    if !spans::has_context(&headers) {
        add_context(span, &mut headers);
    }
    republished(old, headers)
}

/// A message without a trace joins the trace of its replay.
fn add_context(span: &Span, headers: &mut Headers) {
    global::get_text_map_propagator(|propagator| propagator.inject_context(&span.context(), headers));
}

/// The properties of a replayed dead letter, for the fuzz target.
#[cfg(test)]
pub(crate) fn fuzzed(delivery: lapin::message::Delivery) -> BasicProperties {
    let letter = super::DeadLetter::read(Queue::Log, delivery, jiff::Timestamp::UNIX_EPOCH);
    assert!(
        letter.event_id.as_ref().is_none_or(|id| (1..=255).contains(&id.len())) && letter.kind.len() <= 255
    );
    let (rest, old) = parse_properties(letter.properties.as_slice()).unwrap();
    assert!(rest.is_empty(), "the stored properties have trailing bytes");
    let headers = Headers::of(old.headers().as_ref());
    replay_properties(&old, headers, &letter.kind, &Span::none())
}

#[cfg(test)]
mod tests {
    use lapin::types::ShortString;

    use super::*;

    #[test]
    fn removes_the_headers_about_failed_attempts() {
        let mut headers = Headers::default();
        for name in HISTORY {
            headers.set_text(name, "x");
        }
        for name in ["x-death", "traceparent", "tenant"] {
            headers.set_text(name, "kept, except x-death");
        }
        let old = BasicProperties::default().with_message_id("7".into()).with_expiration("5".into());
        let new = replay_properties(&old, headers, "log.INFO", &Span::none());
        assert_eq!(new.message_id().as_ref().map(ShortString::as_str), Some("7"));
        assert_eq!(*new.expiration(), None);
        let headers = new.headers().clone().unwrap();
        let names: Vec<_> = headers.inner().keys().map(ShortString::as_str).collect();
        assert_eq!(names, [headers::ID, headers::TYPE, "tenant", "traceparent"]);
    }

    #[test]
    fn adds_no_id_to_a_message_without_one() {
        let new =
            replay_properties(&BasicProperties::default(), Headers::default(), "log.INFO", &Span::none());
        assert!(!new.headers().as_ref().unwrap().contains_key(headers::ID));
    }
}
