//! Writes logs to standard output and exports spans to an OTLP endpoint.

use std::fmt::Write as _;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::runtime::Tokio;
use opentelemetry_sdk::trace::span_processor_with_async_runtime::BatchSpanProcessor;
use opentelemetry_sdk::trace::{BatchConfigBuilder, SdkTracerProvider};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::clock::SystemClock;
use crate::config::{ConfigError, Settings};
use crate::log_line::{JsonLine, NoSpanFields};
use crate::sampler;
use crate::spans::{ShortValues, SmallRequests};

/// Interval between exports. Short, so that a trace can be read seconds after its request.
const EXPORT_EVERY: Duration = Duration::from_secs(1);
/// Maximum queued spans. When the queue is full, new spans are dropped and the loss is logged; requests are not affected.
const QUEUED_SPANS: usize = 8_192;
/// How long the process waits for the last export before it exits.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeouts of a request to the collector and of a batch. Each is shorter than the enclosing one, so that the innermost reason
/// is logged.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
const BATCH_TIMEOUT: Duration = Duration::from_secs(4);

/// Why telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// A setting is missing or invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The exporter rejects the endpoint.
    #[error("failed to build the OTLP exporter for OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}")]
    Exporter {
        /// The value of the setting.
        endpoint: String,
        /// Why.
        #[source]
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// A log subscriber is already installed in this process.
    #[error("failed to install the log subscriber")]
    Installed(#[from] TryInitError),
}

/// Owns the span exporter; flush before the process exits.
#[derive(Debug)]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Telemetry {
    /// Starts logging and, if an OTLP endpoint is set, the export of spans. Needs a Tokio runtime.
    ///
    /// # Errors
    /// When a setting is invalid, or telemetry is already set up.
    pub fn start(
        service: &'static str,
        version: &'static str,
        settings: &Settings,
    ) -> Result<Self, TelemetryError> {
        let filter: EnvFilter =
            settings.or("WEFT_LOG", "a filter such as info,weft_mesh=debug", EnvFilter::new("info"))?;
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .fmt_fields(NoSpanFields)
            .event_format(JsonLine { service, clock: SystemClock });
        let provider = provider(service, version, settings)?;
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        // Without an endpoint spans still need ids, for logs, `traceresponse` and errors.
        let traced = provider.as_ref().map_or_else(|| SdkTracerProvider::builder().build(), Clone::clone);
        let traces = tracing_opentelemetry::layer()
            .with_tracer(traced.tracer("weft"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false)
            .with_filter(tracing_subscriber::filter::filter_fn(|metadata| {
                metadata.is_span() && metadata.target().starts_with("weft")
            }));
        tracing_subscriber::registry().with(traces).with(lines.with_filter(filter)).try_init()?;
        Ok(Self(provider))
    }

    /// Exports queued spans and shuts the exporter down. Waits at most 5 s.
    pub async fn flush(self) {
        let Some(provider) = self.0 else { return };
        // Shutdown blocks its thread until the exporter, a task of this runtime, has finished.
        let ended = tokio::task::spawn_blocking(move || provider.shutdown());
        match tokio::time::timeout(FLUSH_TIMEOUT, ended).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(error = chain(&error), "failed to export the last spans"),
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "failed to shut down the span exporter"),
            Err(_) => tracing::warn!(
                timeout_ms = FLUSH_TIMEOUT.as_millis(),
                "timed out while exporting the last spans"
            ),
        }
    }
}

fn provider(
    service: &'static str,
    version: &'static str,
    settings: &Settings,
) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    let sampler = sampler::from_settings(settings)?;
    let attributes = resource_attributes(settings)?;
    let Some(endpoint) = settings.text("OTEL_EXPORTER_OTLP_ENDPOINT") else { return Ok(None) };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(&endpoint)
        .with_timeout(REQUEST_TIMEOUT)
        .build()
        .map_err(|source| TelemetryError::Exporter { endpoint, source })?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUED_SPANS)
        .with_scheduled_delay(EXPORT_EVERY)
        .with_max_export_timeout(BATCH_TIMEOUT)
        .build();
    let resource = Resource::builder_empty()
        .with_attributes(attributes)
        .with_attribute(KeyValue::new("service.name", service))
        .with_attribute(KeyValue::new("service.version", version))
        .build();
    Ok(Some(
        SdkTracerProvider::builder()
            .with_span_processor(ShortValues(
                BatchSpanProcessor::builder(SmallRequests(exporter), Tokio)
                    .with_batch_config(batches)
                    .build(),
            ))
            .with_sampler(sampler)
            .with_resource(resource)
            .build(),
    ))
}

fn resource_attributes(settings: &Settings) -> Result<Vec<KeyValue>, ConfigError> {
    const NAME: &str = "OTEL_RESOURCE_ATTRIBUTES";
    let value = settings.text(NAME).unwrap_or_default();
    value
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(KeyValue::new(key.trim().to_owned(), value.trim().to_owned()))
            }
            _ => Err(ConfigError::Invalid {
                name: NAME.to_owned(),
                value: value.clone(),
                wanted: "comma-separated key=value pairs",
                reason: format!("`{pair}` is not such a pair"),
            }),
        })
        .collect()
}

/// Formats an error with all its sources: `error: source: source`.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some libraries repeat the source in their own text.
        let inner = error.to_string();
        if !text.ends_with(&inner) {
            let _ = write!(text, ": {inner}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use opentelemetry::trace::{Span as _, Tracer as _};
    use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
        TraceService, TraceServiceServer,
    };
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
    };
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::trace::v1::Span;

    use super::*;
    use crate::config::Fixed;

    #[test]
    fn parses_resource_attributes() {
        let read =
            |value| resource_attributes(&Settings::new(Fixed::new([("OTEL_RESOURCE_ATTRIBUTES", value)])));
        assert_eq!(read("a=b, c=d=e").unwrap(), [KeyValue::new("a", "b"), KeyValue::new("c", "d=e")]);
        assert!(read("nothing").is_err());
    }

    /// A collector with gRPC's default message limit of 4 MiB.
    #[derive(Clone, Default)]
    struct Collector(Arc<Mutex<Vec<Span>>>);

    #[tonic::async_trait]
    impl TraceService for Collector {
        async fn export(
            &self,
            request: tonic::Request<ExportTraceServiceRequest>,
        ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
            let scopes = request.into_inner().resource_spans.into_iter().flat_map(|spans| spans.scope_spans);
            self.0.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
            Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn exports_all_spans_despite_long_values() {
        let collector = Collector::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .serve_with_incoming(incoming);
        tokio::spawn(server);
        let settings = Settings::new(Fixed::new([("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str())]));
        let provider = provider("test", "0", &settings).unwrap().unwrap();
        let tracer = provider.tracer("test");
        let long = "/ü".repeat(20_000);
        for number in 0..240 {
            let mut span = tracer.start(if number % 2 == 0 { "short".to_owned() } else { long.clone() });
            for key in 0..20 {
                span.set_attribute(KeyValue::new(format!("key-{key}"), long.clone()));
            }
            span.set_attribute(KeyValue::new("number", number));
        }
        tracer.start("another").end();
        tokio::task::spawn_blocking(move || provider.shutdown()).await.unwrap().unwrap();

        let spans = collector.0.lock().unwrap().clone();
        assert_eq!(spans.len(), 241);
        assert!(spans.iter().any(|span| span.name == "another"));
        assert!(spans.iter().all(|span| span.name.len() <= 1_024), "a name is too long");
        let values = spans.iter().flat_map(|span| &span.attributes).filter_map(|pair| {
            match pair.value.as_ref()?.value.as_ref()? {
                Value::StringValue(text) => Some(text),
                _ => None,
            }
        });
        let lengths: Vec<usize> = values.map(String::len).collect();
        assert_eq!(lengths.len(), 240 * 20);
        assert!(lengths.iter().all(|length| (1_000..=1_024).contains(length)), "{:?}", lengths.iter().max());
    }
}
