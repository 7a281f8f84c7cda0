//! Headers and properties for publishing a message again.

use lapin::BasicProperties;

use crate::{
    Received,
    headers::{self, Headers},
    retry::Counts,
};

const PERSISTENT: u8 = 2;

/// All headers that the next attempt needs, also those that the message did not have.
pub(crate) fn carried(event: &Received, headers: Headers, counts: Counts) -> Headers {
    let mut headers = headers.carried_on();
    headers.set_text(headers::ID, &event.id);
    headers.set_text(headers::TYPE, &event.kind);
    headers.set_text(headers::TIME, &event.time.to_string());
    headers.set_text(headers::FIRST_ATTEMPT, &event.first_attempt.to_string());
    headers.set_count(headers::ATTEMPTS, counts.attempts);
    headers.set_count(headers::FAILURES, counts.failures);
    headers.set_count(headers::UNKNOWNS, counts.unknowns);
    headers
}

/// The properties, without those that would make the message expire or make RabbitMQ refuse it (`user_id`).
pub(crate) fn republished(old: &BasicProperties, headers: Headers) -> BasicProperties {
    let mut new =
        BasicProperties::default().with_delivery_mode(PERSISTENT).with_headers(headers.into_table());
    if let Some(value) = old.content_type() {
        new = new.with_content_type(value.clone());
    }
    if let Some(value) = old.content_encoding() {
        new = new.with_content_encoding(value.clone());
    }
    if let Some(value) = old.message_id() {
        new = new.with_message_id(value.clone());
    }
    if let Some(value) = old.timestamp() {
        new = new.with_timestamp(*value);
    }
    new
}
