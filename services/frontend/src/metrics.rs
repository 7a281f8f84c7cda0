//! Request durations. Metric and label names are those of OpenTelemetry, as in the broker.

use axum::body::Body;
use axum::extract::{MatchedPath, State};
use axum::http::{Method, Request};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;
use tokio::time::Instant;
use weft_runtime::metrics::{DURATION_BUCKETS_S, Metrics};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    http_request_method: &'static str,
    http_route: String,
    http_response_status_code: u16,
}

/// Requests by method, route and status.
#[derive(Debug, Clone)]
pub(crate) struct RequestMetrics(Family<Labels, Histogram, fn() -> Histogram>);

impl RequestMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let requests: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS_S));
        metrics.register(|registry| {
            registry.register_with_unit(
                "http_server_request_duration",
                "Duration of HTTP requests, by method, route and status",
                Unit::Seconds,
                requests.clone(),
            );
        });
        Self(requests)
    }
}

/// Middleware that measures requests.
pub(crate) async fn measure(
    State(metrics): State<RequestMetrics>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let started = Instant::now();
    let method = method(request.method());
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let response = next.run(request).await;
    let labels = Labels {
        http_request_method: method,
        http_route: route.unwrap_or_default(),
        http_response_status_code: response.status().as_u16(),
    };
    metrics.0.get_or_create(&labels).observe(started.elapsed().as_secs_f64());
    response
}

/// The method, or `_OTHER` for an unknown one, so that clients can't create any number of label values.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}
