//! Names and values of message headers.

use std::collections::BTreeMap;

use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use opentelemetry::propagation::{Extractor, Injector};

pub(crate) const ID: &str = "cloudEvents:id";
pub(crate) const TYPE: &str = "cloudEvents:type";
pub(crate) const SOURCE: &str = "cloudEvents:source";
pub(crate) const SPEC_VERSION: &str = "cloudEvents:specversion";
pub(crate) const TIME: &str = "cloudEvents:time";

/// Number of failed attempts.
pub(crate) const ATTEMPTS: &str = "weft-attempts";
/// How many of them failed although every dependency was reachable.
pub(crate) const FAILURES: &str = "weft-failures";
/// How many of them ended with an unknown outcome.
pub(crate) const UNKNOWNS: &str = "weft-unknowns";
pub(crate) const FIRST_ATTEMPT: &str = "weft-first-attempt";
/// Why the last attempt failed.
pub(crate) const REASON: &str = "weft-reason";
pub(crate) const DEAD_REASON: &str = "weft-dead-reason";
pub(crate) const DEAD_AT: &str = "weft-dead-at";
pub(crate) const DEAD_QUEUE: &str = "weft-dead-queue";
/// Set when headers of other publishers were dropped because they were too large.
const DROPPED: &str = "weft-headers-dropped";

/// Limit for headers that are carried over. All headers of a message must fit into one frame; the other half is for ours.
const MAX_FOREIGN_BYTES: usize = crate::amqp::PUBLISHER_FRAME_BYTES as usize / 2;
/// Longer reasons are truncated; the log has the full text.
const MAX_REASON_BYTES: usize = 1024;

/// A message's headers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Headers(BTreeMap<ShortString, AMQPValue>);

impl Headers {
    pub(crate) fn of(table: Option<&FieldTable>) -> Self {
        Self(table.map(|table| table.inner().clone()).unwrap_or_default())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn value(&self, name: &str) -> Option<&AMQPValue> {
        self.0.get(name)
    }

    /// The text of a header; `None` if it is missing or not UTF-8 text.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
            AMQPValue::ShortString(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// The count in a header; 0 if it is missing or not a valid count.
    pub(crate) fn count(&self, name: &str) -> u32 {
        let value = match self.0.get(name) {
            Some(AMQPValue::LongLongInt(value)) => *value,
            Some(AMQPValue::LongInt(value)) => i64::from(*value),
            Some(AMQPValue::LongUInt(value)) => i64::from(*value),
            _ => 0,
        };
        u32::try_from(value).unwrap_or_default()
    }

    pub(crate) fn set_text(&mut self, name: &str, value: &str) {
        self.0.insert(name.into(), AMQPValue::LongString(LongString::from(value)));
    }

    pub(crate) fn set_count(&mut self, name: &str, value: u32) {
        self.0.insert(name.into(), AMQPValue::LongLongInt(value.into()));
    }

    pub(crate) fn set_reason(&mut self, name: &str, reason: &str) {
        let end = reason.floor_char_boundary(MAX_REASON_BYTES);
        self.set_text(name, reason.get(..end).unwrap_or_default());
    }

    /// The headers to publish a message with again. Removes those that would change its routing: RabbitMQ's `x-` headers about
    /// deaths and deliveries, and `CC` and `BCC`, which send copies to other queues.
    pub(crate) fn carried_on(mut self) -> Self {
        self.0.retain(|name, _| !name.as_str().starts_with("x-") && !matches!(name.as_str(), "CC" | "BCC"));
        if self.0.iter().map(size).sum::<usize>() > MAX_FOREIGN_BYTES {
            let mut left = MAX_FOREIGN_BYTES;
            self.0.retain(|name, value| {
                let fits = left.checked_sub(size((name, value))).filter(|_| is_known(name.as_str()));
                left = fits.unwrap_or(left);
                fits.is_some()
            });
            self.set_text(DROPPED, "too large for a frame");
        }
        self
    }

    pub(crate) fn without(mut self, names: &[&str]) -> Self {
        self.0.retain(|name, _| !names.contains(&name.as_str()));
        self
    }

    pub(crate) fn into_table(self) -> FieldTable {
        self.0.into()
    }
}

fn is_known(name: &str) -> bool {
    name.starts_with("cloudEvents:")
        || name.starts_with("weft-")
        || matches!(name, "traceparent" | "tracestate")
}

/// Encoded size of a header: length and text of the name, type, value.
fn size((name, value): (&ShortString, &AMQPValue)) -> usize {
    1 + name.as_str().len() + 1 + size_of(value)
}

/// Upper bound of a value's encoded size.
fn size_of(value: &AMQPValue) -> usize {
    const LENGTH: usize = 4;
    match value {
        AMQPValue::ShortString(text) => LENGTH + text.as_str().len(),
        AMQPValue::LongString(text) => LENGTH + text.len(),
        AMQPValue::ByteArray(bytes) => LENGTH + bytes.len(),
        AMQPValue::FieldArray(values) => {
            LENGTH + values.as_slice().iter().map(|value| 1 + size_of(value)).sum::<usize>()
        }
        AMQPValue::FieldTable(table) => LENGTH + table.inner().iter().map(size).sum::<usize>(),
        _ => 8,
    }
}

impl Injector for Headers {
    fn set(&mut self, key: &str, value: String) {
        self.set_text(key, &value);
    }
}

impl Extractor for Headers {
    fn get(&self, key: &str) -> Option<&str> {
        self.text(key)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(ShortString::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_headers_that_change_routing() {
        let mut headers = Headers::default();
        for name in ["x-death", "x-delivery-count", "CC", "BCC", "tenant", TYPE] {
            headers.set_text(name, "v");
        }
        let kept = headers.carried_on();
        assert_eq!(kept.keys(), [TYPE, "tenant"]);
    }

    #[test]
    fn drops_foreign_headers_that_fill_a_frame() {
        let mut headers = Headers::default();
        headers.set_text("tenant", &"x".repeat(MAX_FOREIGN_BYTES));
        headers.set_text(ID, "1");
        let kept = headers.carried_on();
        assert_eq!(kept.keys(), [ID, DROPPED]);
    }

    #[test]
    fn keeps_known_headers_up_to_the_limit() {
        let mut headers = Headers::default();
        for number in 0..40 {
            headers.set_text(&format!("cloudEvents:x{number:02}"), &"x".repeat(1_000));
        }
        let kept = headers.carried_on().into_table();
        let size: usize = kept.inner().values().map(size_of).sum();
        assert!(size > 10_000 && size <= MAX_FOREIGN_BYTES, "{size}");
    }

    #[test]
    fn truncates_a_long_reason_between_characters() {
        let mut headers = Headers::default();
        headers.set_reason(REASON, &"é".repeat(MAX_REASON_BYTES));
        assert_eq!(headers.text(REASON).unwrap().len(), MAX_REASON_BYTES);
    }

    #[test]
    fn ignores_a_count_of_another_type() {
        let mut headers = Headers::default();
        headers.set_text(ATTEMPTS, "3");
        assert_eq!(headers.count(ATTEMPTS), 0);
        headers.set_count(ATTEMPTS, 3);
        assert_eq!(headers.count(ATTEMPTS), 3);
    }
}
