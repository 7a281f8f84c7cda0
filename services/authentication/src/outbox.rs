//! What other services are told about a change: written in the same transaction as the change, delivered afterwards.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::Span;
use uuid::Uuid;
use weft_runtime::trace;

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recipient {
    /// The log store's service.
    Logger,
    /// The service that sends mails.
    Mail,
}

impl Recipient {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Logger, Self::Mail];

    /// The service's name, in the mesh, in the store and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logger => "logger",
            Self::Mail => "mail",
        }
    }
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Message {
    /// An entry for the logger.
    Log {
        /// When it happened.
        time: Timestamp,
        /// Whether somebody should look at it.
        #[serde(default)]
        warning: bool,
        /// What happened, in words.
        data: String,
        /// Ids.
        attributes: BTreeMap<String, String>,
    },
    /// A mail.
    Mail {
        /// Its template.
        template: String,
        /// To whom.
        to: String,
        /// What the template asks for.
        values: BTreeMap<String, String>,
    },
}

impl Message {
    /// Who is told this.
    pub fn recipient(&self) -> Recipient {
        match self {
            Self::Log { .. } => Recipient::Logger,
            Self::Mail { .. } => Recipient::Mail,
        }
    }
}

/// A message on its way.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The entry's or the mail's id too, so that a repeat is recognised.
    pub id: Uuid,
    /// What is said.
    pub message: Message,
    /// The trace that it belongs to.
    pub trace: TraceContext,
    /// When it was written.
    pub created_at: Timestamp,
}

/// A letter that this process is to deliver now.
#[derive(Debug, Clone)]
pub struct Claimed {
    /// The letter.
    pub letter: Letter,
    /// Attempt number, starting at 1.
    pub attempt: u32,
    /// How many attempts before this one ended with an unknown outcome.
    pub unknowns: u32,
}

/// A W3C trace context, kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// `traceparent`.
    pub parent: Option<String>,
    /// `tracestate`.
    pub state: Option<String>,
}

impl TraceContext {
    /// That of the present span.
    pub fn current() -> Self {
        let mut headers = HeaderMap::new();
        trace::inject(&Span::current(), &mut headers);
        let read = |name| headers.get(name)?.to_str().ok().filter(|text| !text.is_empty()).map(str::to_owned);
        Self { parent: read("traceparent"), state: read("tracestate") }
    }

    /// The context to go on from.
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

/// What the outbox holds for one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// For whom.
    pub recipient: Recipient,
    /// Letters that wait; [`Self::COUNTED`] stands for that many or more.
    pub waiting: u32,
    /// When the oldest of them was written.
    pub oldest: Option<Timestamp>,
    /// Letters that can't be delivered at all; [`Self::COUNTED`] stands for that many or more.
    pub failed: u32,
}

impl Backlog {
    /// Upper bound of the counts: what lies beyond changes no decision, and would take the store longer and longer.
    pub const COUNTED: u32 = 10_000;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_stored_and_read_as_itself() {
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
