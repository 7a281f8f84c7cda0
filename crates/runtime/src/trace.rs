//! The trace that a span belongs to, and how it crosses a process's border.

use http::{HeaderMap, HeaderValue};
use opentelemetry::propagation::Extractor;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use opentelemetry::{Context, global};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Name of the header that tells a caller which trace its request became (W3C Trace Context, level 2).
pub const TRACE_RESPONSE: &str = "traceresponse";

const TRACE_STATE: &str = "tracestate";
/// What W3C Trace Context asks everybody to carry on.
const MOST_TRACE_STATE_BYTES: usize = 512;

/// The ids of a span; nothing when it has none, as in a test without telemetry.
pub fn span_context(span: &Span) -> Option<SpanContext> {
    let context = span.context().span().span_context().clone();
    context.is_valid().then_some(context)
}

/// The present trace's id: 32 lower-case hexadecimal digits.
pub fn current_trace_id() -> Option<String> {
    span_context(&Span::current()).map(|context| context.trace_id().to_string())
}

/// The value of [`TRACE_RESPONSE`] for a request that this span stands for.
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

/// Reads `traceparent` and `tracestate`: the context that a peer sent, empty when it sent none. A `tracestate` of more than
/// 512 bytes, which nobody has to carry on, is left out: it would be exported with each span.
pub fn extract(headers: &HeaderMap) -> Context {
    let headers = Bounded(HeaderExtractor(headers));
    global::get_text_map_propagator(|propagator| propagator.extract_with_context(&Context::new(), &headers))
}

struct Bounded<'a>(HeaderExtractor<'a>);

impl Extractor for Bounded<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).filter(|value| key != TRACE_STATE || value.len() <= MOST_TRACE_STATE_BYTES)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys()
    }
}

/// The ids in a context that [`extract`] read; nothing when it has none.
pub fn of_context(context: &Context) -> Option<SpanContext> {
    let found = context.span().span_context().clone();
    found.is_valid().then_some(found)
}

/// Puts a span, which nothing has entered yet, below a context that [`extract`] read.
pub fn adopt(span: &Span, parent: Context) {
    // It fails only for a span that has begun to be exported.
    let _ = span.set_parent(parent);
}

#[cfg(test)]
mod tests {
    use opentelemetry_sdk::propagation::TraceContextPropagator;

    use super::*;

    #[test]
    fn a_trace_state_that_is_too_long_is_left_out_and_the_trace_stays() {
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
