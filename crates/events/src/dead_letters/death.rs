//! RabbitMQ's record of why a message was dead-lettered: the header `x-death`.

use jiff::Timestamp;
use lapin::types::{AMQPValue, FieldTable};

use crate::{headers::Headers, topology::DELIVERY_LIMIT};

/// One entry of `x-death`. RabbitMQ writes the latest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Death {
    reason: String,
    /// The routing key that the message was published with.
    pub(super) key: String,
    pub(super) at: Option<Timestamp>,
}

impl Death {
    /// The latest and the first entry.
    pub(super) fn latest_and_first(headers: &Headers) -> Option<(Self, Self)> {
        let Some(AMQPValue::FieldArray(deaths)) = headers.value("x-death") else { return None };
        let mut deaths = deaths.as_slice().iter().filter_map(|death| match death {
            AMQPValue::FieldTable(table) => Some(Self::read(table)),
            _ => None,
        });
        let latest = deaths.next()?;
        let first = deaths.next_back().unwrap_or_else(|| latest.clone());
        Some((latest, first))
    }

    fn read(table: &FieldTable) -> Self {
        let field = |name: &str| table.inner().get(name);
        let key = match field("routing-keys") {
            Some(AMQPValue::FieldArray(keys)) => keys.as_slice().first().and_then(text),
            _ => None,
        };
        let at = match field("time") {
            Some(AMQPValue::Timestamp(seconds)) => i64::try_from(*seconds).ok(),
            _ => None,
        };
        Self {
            reason: field("reason").and_then(text).unwrap_or_default(),
            key: key.unwrap_or_default(),
            at: at.and_then(|seconds| Timestamp::from_second(seconds).ok()),
        }
    }

    /// Whether the message reached the delivery limit without an acknowledgement.
    fn is_by_crashes(&self) -> bool {
        self.reason == "delivery_limit"
    }

    /// Attempts that are not counted in the header `weft-attempts`.
    pub(super) fn attempts(&self) -> u32 {
        if self.is_by_crashes() { u32::try_from(DELIVERY_LIMIT + 1).unwrap_or(u32::MAX) } else { 0 }
    }

    /// The reason as readable text.
    pub(super) fn reason(&self) -> Option<String> {
        match self.reason.as_str() {
            "" => None,
            _ if self.is_by_crashes() => Some(format!(
                "delivered more than {DELIVERY_LIMIT} times without an acknowledgement: its consumer crashed or lost its connection"
            )),
            other => Some(format!("dead-lettered by RabbitMQ: {other}")),
        }
    }
}

fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok().map(ToOwned::to_owned),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}
