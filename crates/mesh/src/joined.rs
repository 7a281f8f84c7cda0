//! Calls that travel together in one request, each with spans of its own in its own trace.
//!
//! Under load a caller may put many of its callers' calls into one request of a method that takes many. Without more,
//! their traces would end there. So each call that joins has its own CLIENT span on this side ([`Joined`]), its
//! `traceparent` travels in the request's message, and the other side opens its SERVER span ([`Served`]) below it.
//! Spans of traces that are not sampled are left out: that is most of them just when calls are many.

use http::{HeaderMap, HeaderValue};
use tonic::Code;
use tracing::Span;
use weft_runtime::trace;

use crate::client::{Channel, client_span};
use crate::observed::{Observation, code_name, is_error};
use crate::server::server_span;

const TRACEPARENT: &str = "traceparent";

/// The calling side of a call inside another's request.
#[derive(Debug)]
pub struct Joined {
    observation: Observation,
    traceparent: String,
}

/// The serving side of a call inside another's request.
#[derive(Debug)]
pub struct Served(Span);

impl Channel {
    /// Opens a call inside another's request, below the present span. `path` is the request's, such as
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
    /// What the other side needs to go on with this trace; empty when it is not sampled.
    pub fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// Ends the call. Dropped without it, it counts as cancelled.
    pub fn end(mut self, code: Code) {
        self.observation.end(code);
    }
}

impl Served {
    /// Opens the serving side of a call below this `traceparent`; nothing when it is empty, none, or not sampled.
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

    /// What the call does is below this.
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
