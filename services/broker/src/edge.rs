//! Where a trace begins: around every request its span, its metric, and the trace's id in the reply.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, State};
use axum::http::{Method, Request};
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::trace::TraceContextExt as _;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;
use std::net::SocketAddr;
use tokio::time::Instant;
use tracing::{Instrument as _, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use weft_runtime::metrics::{DURATION_BUCKETS_S, Metrics};
use weft_runtime::trace;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    http_request_method: &'static str,
    http_route: String,
    http_response_status_code: u16,
}

/// What the edge needs for each request.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    requests: Family<Labels, Histogram, fn() -> Histogram>,
    trust_incoming: bool,
}

impl Edge {
    pub(crate) fn new(metrics: &Metrics, trust_incoming: bool) -> Arc<Self> {
        let requests: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS_S));
        metrics.register(|registry| {
            registry.register_with_unit(
                "http_server_request_duration",
                "How long requests took, by method, route and status",
                Unit::Seconds,
                requests.clone(),
            );
        });
        Arc::new(Self { requests, trust_incoming })
    }
}

/// The middleware.
pub(crate) async fn observe(State(edge): State<Arc<Edge>>, request: Request<Body>, next: Next) -> Response {
    let started = Instant::now();
    let method = method(request.method());
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let span = span(&request, method, route.as_deref());
    edge.adopt(&span, &request);
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("error.type", status.as_str());
        span.record("otel.status_code", "ERROR");
    }
    if let Some(value) = trace::response_header(&span) {
        response.headers_mut().insert(trace::TRACE_RESPONSE, value);
    }
    let labels = Labels {
        http_request_method: method,
        http_route: route.unwrap_or_default(),
        http_response_status_code: status.as_u16(),
    };
    edge.requests.get_or_create(&labels).observe(started.elapsed().as_secs_f64());
    response
}

impl Edge {
    /// A trace from outside is linked, or continued where the Stack trusts it.
    fn adopt(&self, span: &Span, request: &Request<Body>) {
        let incoming = trace::extract(request.headers());
        let peer = incoming.span().span_context().clone();
        if !peer.is_valid() {
            return;
        }
        if self.trust_incoming {
            let _ = span.set_parent(incoming);
        } else {
            span.add_link(peer);
        }
    }
}

/// OpenTelemetry's word for a method that is none: a client must not be able to make metrics without end.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}

fn span(request: &Request<Body>, method: &'static str, route: Option<&str>) -> Span {
    let name = match (method, route) {
        ("_OTHER", _) => "HTTP".to_owned(),
        (method, Some(route)) => format!("{method} {route}"),
        (method, None) => method.to_owned(),
    };
    let client = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_string());
    let span = tracing::info_span!(
        parent: None,
        "request",
        otel.kind = "server",
        otel.name = name,
        otel.status_code = field::Empty,
        http.request.method = method,
        http.route = field::Empty,
        http.response.status_code = field::Empty,
        url.scheme = "http",
        url.path = request.uri().path(),
        client.address = client,
        "error.type" = field::Empty,
    );
    if let Some(route) = route {
        span.record("http.route", route);
    }
    span
}
