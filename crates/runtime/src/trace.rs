//! The trace that a span belongs to, and how it crosses a process's border.

use http::{HeaderMap, HeaderValue};
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use opentelemetry::{Context, global};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Name of the header that tells a caller which trace its request became (W3C Trace Context, level 2).
pub const TRACE_RESPONSE: &str = "traceresponse";

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

/// Reads `traceparent` and `tracestate`: the context that a peer sent, empty when it sent none.
pub fn extract(headers: &HeaderMap) -> Context {
    global::get_text_map_propagator(|propagator| {
        propagator.extract_with_context(&Context::new(), &HeaderExtractor(headers))
    })
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
