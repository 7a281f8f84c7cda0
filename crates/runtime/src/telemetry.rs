//! Logs to standard output, spans to an OTLP endpoint.

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

/// Spans wait at most this long before they leave: a trace is to be read seconds after its request.
const EXPORT_EVERY: Duration = Duration::from_secs(1);
/// Spans kept while they wait; past it new ones are dropped and the loss is logged, never the request.
const QUEUED_SPANS: usize = 8_192;
/// How long the end of the process waits for the last spans.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);
/// For one request to the collector, and for one batch. Each is shorter than what encloses it, so that the reason that is
/// logged is the innermost one.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);
const BATCH_TIMEOUT: Duration = Duration::from_secs(4);

/// What can go wrong before the first log line.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The exporter does not take its endpoint.
    #[error("failed to build the OTLP exporter for OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}")]
    Exporter {
        /// As it was set.
        endpoint: String,
        /// Why.
        #[source]
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// Telemetry was set up before in this process.
    #[error("failed to install the log subscriber")]
    Installed(#[from] TryInitError),
}

/// Holds the exporter until the end of the process.
#[derive(Debug)]
pub struct Telemetry(Option<SdkTracerProvider>);

impl Telemetry {
    /// Starts logging and, where an OTLP endpoint is set, tracing. Needs a Tokio runtime.
    ///
    /// # Errors
    /// When a setting is wrong, or telemetry stands already.
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
        // Without an endpoint the spans still have ids: logs, `traceresponse` and errors name them all the same.
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

    /// Sends what is still queued and ends the exporter. Waits at most 5 s.
    pub async fn flush(self) {
        let Some(provider) = self.0 else { return };
        // The provider's shutdown blocks its thread until the exporter, a task of this runtime, is done.
        let ended = tokio::task::spawn_blocking(move || provider.shutdown());
        match tokio::time::timeout(FLUSH_TIMEOUT, ended).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(error = chain(&error), "failed to send the last spans"),
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "failed to end the span exporter"),
            Err(_) => tracing::warn!("gave up sending the last spans after {} s", FLUSH_TIMEOUT.as_secs()),
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
                wanted: "key=value pairs with commas between them",
                reason: format!("`{pair}` is no such pair"),
            }),
        })
        .collect()
}

/// An error with all its causes, `what: because: because`.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Some libraries repeat their cause in their own text.
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
    fn resource_attributes_are_pairs() {
        let read =
            |value| resource_attributes(&Settings::new(Fixed::new([("OTEL_RESOURCE_ATTRIBUTES", value)])));
        assert_eq!(read("a=b, c=d=e").unwrap(), [KeyValue::new("a", "b"), KeyValue::new("c", "d=e")]);
        assert!(read("nothing").is_err());
    }

    /// What a collector was sent, with gRPC's usual limit of 4 MiB for a message.
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
    async fn long_values_cost_no_other_span_its_place() {
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
