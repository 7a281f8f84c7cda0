//! The transactional outbox: messages to other services, written in the transaction of the change that they report and delivered
//! afterwards.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::Span;
use uuid::Uuid;
use weft_runtime::trace;

/// A service that receives letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recipient {
    Logger,
    Mail,
}

impl Recipient {
    pub const ALL: [Self; 2] = [Self::Logger, Self::Mail];

    /// The service's name in the mesh, in the store and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logger => "logger",
            Self::Mail => "mail",
        }
    }
}

/// The content of a letter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Message {
    /// An entry for the logger.
    Log {
        time: Timestamp,
        /// Level warning instead of info.
        #[serde(default)]
        warning: bool,
        data: String,
        attributes: BTreeMap<String, String>,
    },
    /// A mail from a template.
    Mail {
        template: String,
        to: String,
        /// Values for the template.
        values: BTreeMap<String, String>,
    },
}

impl Message {
    pub fn recipient(&self) -> Recipient {
        match self {
            Self::Log { .. } => Recipient::Logger,
            Self::Mail { .. } => Recipient::Mail,
        }
    }
}

/// A message in the outbox.
#[derive(Debug, Clone)]
pub struct Letter {
    /// Also the id of the log entry or the mail, so that the recipient recognises a repeat.
    pub id: Uuid,
    pub message: Message,
    /// Trace context of the change.
    pub trace: TraceContext,
    pub created_at: Timestamp,
}

/// A letter that this process has leased for delivery.
#[derive(Debug, Clone)]
pub struct Claimed {
    pub letter: Letter,
    /// Attempt number, starting at 1.
    pub attempt: u32,
    /// Number of earlier attempts with an unknown outcome.
    pub unknowns: u32,
}

/// A stored W3C trace context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// `traceparent`.
    pub parent: Option<String>,
    /// `tracestate`.
    pub state: Option<String>,
}

impl TraceContext {
    /// The context of the current span.
    pub fn current() -> Self {
        let mut headers = HeaderMap::new();
        trace::inject(&Span::current(), &mut headers);
        let read = |name| headers.get(name)?.to_str().ok().filter(|text| !text.is_empty()).map(str::to_owned);
        Self { parent: read("traceparent"), state: read("tracestate") }
    }

    pub fn to_context(&self) -> opentelemetry::Context {
        let mut headers = HeaderMap::new();
        let mut insert = |name, value: &Option<String>| {
            if let Some(Ok(value)) = value.as_deref().map(HeaderValue::from_str) {
                headers.insert(name, value);
            }
        };
        insert("traceparent", &self.parent);
        insert("tracestate", &self.state);
        trace::extract(&headers)
    }
}

/// Number and age of the letters of one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    pub recipient: Recipient,
    /// Waiting letters; [`Self::COUNTED`] means that many or more.
    pub waiting: u32,
    /// When the oldest waiting letter was written.
    pub oldest: Option<Timestamp>,
    /// Failed letters; [`Self::COUNTED`] means that many or more.
    pub failed: u32,
}

impl Backlog {
    /// Upper bound of the counts. An exact count of more letters would cost the store time and change no decision.
    pub const COUNTED: u32 = 10_000;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_round_trips_through_json() {
        let message = Message::Mail {
            template: "logout".into(),
            to: "a@b.c".into(),
            values: BTreeMap::from([("email".into(), "a@b.c".into())]),
        };
        let text = serde_json::to_string(&message).unwrap();
        assert!(text.contains(r#""kind":"mail""#), "{text}");
        assert_eq!(serde_json::from_str::<Message>(&text).unwrap(), message);
        assert_eq!(message.recipient(), Recipient::Mail);
        let log = r#"{"kind":"log","time":"2026-01-02T03:04:05Z","data":"a@b.c logged in","attributes":{}}"#;
        assert_eq!(serde_json::from_str::<Message>(log).unwrap().recipient(), Recipient::Logger);
    }
}
