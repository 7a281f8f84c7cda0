//! Calls batched into one request, each with its own spans in its own trace.
//!
//! Under load a service may send the calls of many callers in one request of a batch method, and their traces would end there.
//! So each batched call has its own CLIENT span on the calling side ([`Joined`]), its `traceparent` is sent in the request
//! message, and the serving side opens a SERVER span ([`Served`]) as its child. No spans are created for traces that are not
//! sampled, which under load are most.

use http::{HeaderMap, HeaderValue};
use tonic::Code;
use tracing::Span;
use weft_runtime::trace;

use crate::client::{Channel, client_span};
use crate::observed::{Observation, code_name, is_error};
use crate::server::server_span;

const TRACEPARENT: &str = "traceparent";

/// The calling side of a batched call.
#[derive(Debug)]
pub struct Joined {
    observation: Observation,
    traceparent: String,
}

/// The serving side of a batched call.
#[derive(Debug)]
pub struct Served(Span);

impl Channel {
    /// Starts a batched call as a child of the current span. `path` is that of the request, such as
    /// `/weft.log.v1.LogService/WriteMany`.
    pub fn join(&self, path: &str) -> Joined {
        let sampled = trace::span_context(&Span::current()).is_some_and(|context| context.is_sampled());
        let span = if sampled { client_span(&self.peer, path) } else { Span::none() };
        let mut headers = HeaderMap::new();
        if sampled {
            trace::inject(&span, &mut headers);
        }
        let traceparent = headers.get(TRACEPARENT).and_then(|value| value.to_str().ok());
        let traceparent = traceparent.unwrap_or_default().to_owned();
        Joined { observation: Observation::start(span, self.calls.clone(), path, false), traceparent }
    }
}

impl Joined {
    /// The `traceparent` for the serving side; empty when the trace is not sampled.
    pub fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// Ends the call. A call that is dropped counts as cancelled.
    pub fn end(mut self, code: Code) {
        self.observation.end(code);
    }
}

impl Served {
    /// Opens the serving side as a child of this `traceparent`; `None` when it is empty, invalid or not sampled.
    pub fn open(path: &str, traceparent: &str) -> Option<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_str(traceparent).ok()?);
        let parent = trace::extract(&headers);
        let sampled = trace::of_context(&parent).is_some_and(|context| context.is_sampled());
        if !sampled {
            return None;
        }
        let span = server_span(path);
        trace::adopt(&span, parent);
        Some(Self(span))
    }

    /// The SERVER span of the call.
    pub fn span(&self) -> &Span {
        &self.0
    }

    /// Ends the call.
    pub fn end(self, code: Code) {
        let name = code_name(code);
        self.0.record("rpc.response.status_code", name);
        if is_error(code, true) {
            self.0.record("error.type", name);
            self.0.record("otel.status_code", "ERROR");
        }
    }
}
