//! Formats a log event as one line of JSON, with the trace id and span id.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::Clock;
use crate::{log_scope, trace};

/// Writes lines such as `{"time":"…","level":"INFO","service":"logger","message":"…","trace_id":"…",…}`.
///
/// serde_json escapes control characters, so no field can forge a second line.
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
        log_scope::each(|name, value| {
            line.insert(name.into(), value.into());
        });
        event.record(&mut Fields(&mut line));
        // Not the span of the context: that one skips spans that the log filter disables.
        if let Some(ids) = trace::span_context(&tracing::Span::current()) {
            line.insert("trace_id".into(), ids.trace_id().to_string().into());
            line.insert("span_id".into(), ids.span_id().to_string().into());
        }
        let text = serde_json::to_string(&line).map_err(|_| fmt::Error)?;
        writeln!(writer, "{text}")
    }
}

/// Does not format span fields. A line has the fields of its event; those of spans are in the trace. Without this the layer
/// would format every field of every span in vain.
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
        // Event fields must not replace the reserved fields of the line.
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use jiff::Timestamp;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::clock::FixedClock;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn adds_scope_fields_only_within_the_scope() {
        let lines = Lines::default();
        let written = lines.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_writer(move || written.clone())
            .fmt_fields(NoSpanFields)
            .event_format(JsonLine { service: "test", clock: FixedClock(Timestamp::UNIX_EPOCH) });
        let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let pass = async {
            tracing::info!("one");
            tokio::task::yield_now().await;
            tracing::info!(stack = "another", time = "x", "two");
        };
        log_scope::with([("stack", "shop".to_owned()), ("namespace", "n".to_owned())], pass).await;
        tracing::info!("three");
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["stack"], &lines[0]["namespace"]), (&"shop".into(), &"n".into()));
        assert_eq!((&lines[1]["stack"], &lines[1]["namespace"]), (&"another".into(), &"n".into()));
        assert_eq!(lines[1]["field.time"], "x");
        assert!(lines[2].get("stack").is_none() && lines[2]["message"] == "three");
    }
}
