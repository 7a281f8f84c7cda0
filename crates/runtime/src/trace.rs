//! The trace ids of a span, and their propagation between processes.

use http::{HeaderMap, HeaderValue};
use opentelemetry::propagation::Extractor;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use opentelemetry::{Context, global};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Response header with the trace id of the request (W3C Trace Context, level 2).
pub const TRACE_RESPONSE: &str = "traceresponse";

const TRACE_STATE: &str = "tracestate";
/// Length of `tracestate` that W3C Trace Context requires to propagate.
const MAX_TRACE_STATE_BYTES: usize = 512;

/// The ids of a span; `None` when it has none, as in a test without telemetry.
pub fn span_context(span: &Span) -> Option<SpanContext> {
    let context = span.context().span().span_context().clone();
    context.is_valid().then_some(context)
}

/// The current trace id: 32 lower-case hexadecimal digits.
pub fn current_trace_id() -> Option<String> {
    span_context(&Span::current()).map(|context| context.trace_id().to_string())
}

/// The value of [`TRACE_RESPONSE`] for the request of this span.
pub fn response_header(span: &Span) -> Option<HeaderValue> {
    let context = span_context(span)?;
    let (trace, id, flags) = (context.trace_id(), context.span_id(), context.trace_flags().to_u8());
    HeaderValue::from_str(&format!("00-{trace}-{id}-{flags:02x}")).ok()
}

/// Writes `traceparent` and `tracestate` for this span.
pub fn inject(span: &Span, headers: &mut HeaderMap) {
    let context = span.context();
    global::get_text_map_propagator(|propagator| {
        propagator.inject_context(&context, &mut HeaderInjector(headers));
    });
}

/// Reads the context of the peer from `traceparent` and `tracestate`; empty when there is none. A `tracestate` of more than 512
/// bytes is dropped: it need not be propagated, and it would be exported with each span.
pub fn extract(headers: &HeaderMap) -> Context {
    let headers = Bounded(HeaderExtractor(headers));
    global::get_text_map_propagator(|propagator| propagator.extract_with_context(&Context::new(), &headers))
}

struct Bounded<'a>(HeaderExtractor<'a>);

impl Extractor for Bounded<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).filter(|value| key != TRACE_STATE || value.len() <= MAX_TRACE_STATE_BYTES)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys()
    }
}

/// The ids in a context that [`extract`] read; `None` when it has none.
pub fn of_context(context: &Context) -> Option<SpanContext> {
    let found = context.span().span_context().clone();
    found.is_valid().then_some(found)
}

/// Sets a context that [`extract`] read as the parent of a span that has not been entered yet.
pub fn adopt(span: &Span, parent: Context) {
    // Fails only for a span whose context is already in use.
    let _ = span.set_parent(parent);
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::propagation::TraceContextPropagator;

    use super::*;

    #[test]
    fn drops_a_long_trace_state_and_keeps_the_trace() {
        global::set_text_map_propagator(TraceContextPropagator::new());
        let read = |state: String| {
            let mut headers = HeaderMap::new();
            let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
            headers.insert("traceparent", HeaderValue::from_static(parent));
            headers.insert(TRACE_STATE, HeaderValue::from_str(&state).unwrap());
            of_context(&extract(&headers)).unwrap().trace_state().header()
        };
        assert_eq!(read("vendor=1".to_owned()), "vendor=1");
        assert_eq!(read(format!("vendor={}", "1".repeat(30_000))), "");
    }
}
