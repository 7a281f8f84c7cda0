//! One log event as one line of JSON, with the ids of the trace that it belongs to.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::Clock;
use crate::trace;

/// Writes lines such as `{"time":"…","level":"INFO","service":"logger","message":"…","trace_id":"…",…}`.
///
/// serde_json escapes control characters, so that no field can forge a second line.
#[derive(Debug)]
pub(crate) struct JsonLine<C> {
    pub(crate) service: &'static str,
    pub(crate) clock: C,
}

impl<S, N, C> FormatEvent<S, N> for JsonLine<C>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
    C: Clock,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Map::new();
        line.insert("time".into(), format!("{:.3}", self.clock.now()).into());
        line.insert("level".into(), event.metadata().level().as_str().into());
        line.insert("service".into(), self.service.into());
        line.insert("target".into(), event.metadata().target().into());
        event.record(&mut Fields(&mut line));
        // Not the context's own span: it hides those that the log filter leaves out.
        if let Some(ids) = trace::span_context(&tracing::Span::current()) {
            line.insert("trace_id".into(), ids.trace_id().to_string().into());
            line.insert("span_id".into(), ids.span_id().to_string().into());
        }
        let text = serde_json::to_string(&line).map_err(|_| fmt::Error)?;
        writeln!(writer, "{text}")
    }
}

/// Span fields are not written: a line has the event's own, and the trace has the rest. The layer would else format
/// every field of every span for nobody.
#[derive(Debug)]
pub(crate) struct NoSpanFields;

impl<'writer> FormatFields<'writer> for NoSpanFields {
    fn format_fields<R: RecordFields>(&self, _: Writer<'writer>, _: R) -> fmt::Result {
        Ok(())
    }
}

struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        // A field may not pass for one of the line's own.
        let name = field.name();
        let name = match name {
            "time" | "level" | "service" | "target" | "trace_id" | "span_id" => format!("field.{name}"),
            _ => name.to_owned(),
        };
        self.0.insert(name, value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, crate::telemetry::chain(value));
    }
}
