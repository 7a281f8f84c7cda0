//! Middleware around every request: span, metric and limits; and on every reply the trace id and security headers for browsers.
//! A single middleware, because each one adds cost to every request.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{MatchedPath, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use opentelemetry::trace::TraceContextExt as _;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Unit;
use tokio::time::Instant;
use tracing::{Instrument as _, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use weft_runtime::metrics::{DURATION_BUCKETS_S, Metrics};
use weft_runtime::trace;

use crate::client::{Client, Proxies};
use crate::forward::Forwarded;
use crate::in_flight::{self, InFlight};
use crate::limit::{Limit, Remaining};
use crate::origin::{self, Origins};
use crate::reply::ApiError;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Security headers of every reply. The API serves no pages, so nothing may be framed, sniffed, or loaded by another site.
pub(crate) static SAFE: [(HeaderName, HeaderValue); 5] = [
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];
/// One year.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    http_request_method: &'static str,
    http_route: String,
    http_response_status_code: u16,
}

/// State of the middleware.
#[derive(Debug)]
pub(crate) struct Edge {
    requests: Family<Labels, Histogram, fn() -> Histogram>,
    policy: Policy,
    in_flight: InFlight,
}

/// Which clients are trusted, and the rate limit.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) trust_incoming: bool,
    pub(crate) proxies: Arc<Proxies>,
    pub(crate) origins: Origins,
    pub(crate) limit: Option<Arc<Limit>>,
}

/// What the headers of the reply depend on.
struct Visit {
    client: Client,
    /// The request's origin, if it is in the list of allowed origins.
    origin: Option<HeaderValue>,
    /// What is left of the rate limit; nothing without a limit.
    left: Option<Remaining>,
}

impl Edge {
    pub(crate) fn new(metrics: &Metrics, policy: Policy, in_flight: InFlight) -> Arc<Self> {
        let requests: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS_S));
        metrics.register(|registry| {
            registry.register_with_unit(
                "http_server_request_duration",
                "Duration of requests by method, route and status",
                Unit::Seconds,
                requests.clone(),
            );
        });
        Arc::new(Self { requests, policy, in_flight })
    }
}

/// The middleware itself.
pub(crate) async fn observe(State(edge): State<Arc<Edge>>, request: Request<Body>, next: Next) -> Response {
    let started = Instant::now();
    let method = method(request.method());
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let client = edge.policy.proxies.client(request.extensions(), request.headers());
    let span = span(&request, client, method, route.as_deref());
    edge.adopt(&span, &request);
    let visit = edge.visit(&request, client);
    let mut response = match span.in_scope(|| edge.refuse(&visit, &request)) {
        Some(response) => response,
        None => edge.admit(client, request, next).instrument(span.clone()).await,
    };
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("error.type", status.as_str());
        span.record("otel.status_code", "ERROR");
    }
    let forwarded = response.extensions().get::<Forwarded>().is_some();
    edge.finish(&visit, forwarded, response.headers_mut());
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

/// Runs the handler. A panic fails only this request, not the others on the same connection.
async fn run(next: Next, request: Request<Body>) -> Response {
    let path = request.uri().clone();
    AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("a handler panicked");
        let message = "internal error; find the reason in the broker's log by the trace id";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message).in_format_of(path.path())
    })
}

impl Edge {
    /// Runs the request if the bounds on requests and bytes in flight allow it, and counts the bytes of its reply.
    async fn admit(&self, client: Client, request: Request<Body>, next: Next) -> Response {
        let uri = request.uri().clone();
        let refuse = |exceeded| in_flight::refusal(exceeded).in_format_of(uri.path());
        let share = match self.in_flight.admit(client.address) {
            Ok(share) => share,
            Err(exceeded) => return refuse(exceeded),
        };
        let mut request = request.map(|body| share.meter(body));
        request.extensions_mut().insert(client);
        request.extensions_mut().insert(share.clone());
        let response = run(next, request).await;
        share.hold(response).unwrap_or_else(refuse)
    }

    fn visit(&self, request: &Request<Body>, client: Client) -> Visit {
        let preflight = origin::is_preflight(request.method(), request.headers());
        let limit = self.policy.limit.as_ref().filter(|_| !preflight);
        Visit {
            client,
            origin: self.policy.origins.listed(request.headers()).cloned(),
            left: limit.map(|limit| limit.count(client.address)),
        }
    }

    /// The reply to a preflight or a refused request; nothing for requests that go on to their handler.
    fn refuse(&self, visit: &Visit, request: &Request<Body>) -> Option<Response> {
        let (method, headers, path) = (request.method(), request.headers(), request.uri().path());
        if origin::is_preflight(method, headers) {
            let mut response = StatusCode::NO_CONTENT.into_response();
            if visit.origin.is_some() {
                origin::answer_preflight(response.headers_mut());
            }
            return Some(response);
        }
        if let Some(wait) = visit.left.and_then(|left| left.refused_for) {
            let message = "too many requests from your address; try again after the time in Retry-After";
            return Some(
                ApiError::new(StatusCode::TOO_MANY_REQUESTS, message).after(wait).in_format_of(path),
            );
        }
        if self.policy.origins.is_forged(method, headers) {
            let message = "the request was sent by a page of another origin that is not in the broker's list of origins";
            return Some(ApiError::new(StatusCode::FORBIDDEN, message).in_format_of(path));
        }
        None
    }

    /// Adds the headers that all replies have in common.
    fn finish(&self, visit: &Visit, forwarded: bool, headers: &mut HeaderMap) {
        headers.reserve(SAFE.len() + 8);
        for (name, value) in &SAFE {
            // A routed service may serve pages, and knows what they load.
            if forwarded && headers.contains_key(name) {
                continue;
            }
            headers.insert(name, value.clone());
        }
        if visit.client.https {
            headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
        }
        if !headers.contains_key(CACHE_CONTROL) {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        self.policy.origins.allow(visit.origin.clone(), headers);
        if let (Some(limit), Some(left)) = (&self.policy.limit, visit.left) {
            headers.insert(RATE_LIMIT_POLICY, limit.policy());
            if let Some(value) = limit.header(left) {
                headers.insert(RATE_LIMIT, value);
            }
        }
    }

    /// Links the client's trace, or continues it if the Stack trusts incoming traces.
    fn adopt(&self, span: &Span, request: &Request<Body>) {
        let incoming = trace::extract(request.headers());
        let peer = incoming.span().span_context().clone();
        if !peer.is_valid() {
            return;
        }
        if self.policy.trust_incoming {
            let _ = span.set_parent(incoming);
        } else {
            span.add_link(peer);
        }
    }
}

/// Maps unknown methods to `_OTHER`, as OpenTelemetry does. Otherwise a client could create any number of time series.
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

fn span(request: &Request<Body>, client: Client, method: &'static str, route: Option<&str>) -> Span {
    let name = match (method, route) {
        ("_OTHER", _) => "HTTP".to_owned(),
        (method, Some(route)) => format!("{method} {route}"),
        (method, None) => method.to_owned(),
    };
    let span = tracing::info_span!(
        parent: None,
        "request",
        otel.kind = "server",
        otel.name = name,
        otel.status_code = field::Empty,
        http.request.method = method,
        http.route = field::Empty,
        http.response.status_code = field::Empty,
        url.scheme = if client.https { "https" } else { "http" },
        url.path = request.uri().path(),
        client.address = client.address.to_string(),
        "error.type" = field::Empty,
    );
    if let Some(route) = route {
        span.record("http.route", route);
    }
    span
}
