//! The edge: around every request its span, its metric and its limits, and on every reply the trace's id and the headers
//! that keep browsers safe. One middleware, since each costs every request.

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
use crate::in_flight::{self, InFlight};
use crate::limit::{Limit, Standing};
use crate::origin::{self, Origins};
use crate::proxy::Proxied;
use crate::reply::ApiError;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// On every reply. This is an API: nothing that it answers is a page, to be framed, sniffed, or loaded by another site.
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

/// What the edge needs for each request.
#[derive(Debug)]
pub(crate) struct Edge {
    requests: Family<Labels, Histogram, fn() -> Histogram>,
    policy: Policy,
    in_flight: InFlight,
}

/// Whom the edge trusts, and how much it takes.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) trust_incoming: bool,
    pub(crate) proxies: Arc<Proxies>,
    pub(crate) origins: Origins,
    pub(crate) limit: Option<Arc<Limit>>,
}

/// What of a request its reply's headers follow from.
struct Visit {
    client: Client,
    /// It is there only when it is listed.
    origin: Option<HeaderValue>,
    standing: Option<Standing>,
}

impl Edge {
    pub(crate) fn new(metrics: &Metrics, policy: Policy, in_flight: InFlight) -> Arc<Self> {
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
        Arc::new(Self { requests, policy, in_flight })
    }
}

/// The middleware.
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
    let proxied = response.extensions().get::<Proxied>().is_some();
    edge.finish(&visit, proxied, response.headers_mut());
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

/// An error of our own ends its request, and no other on the same connection.
async fn run(next: Next, request: Request<Body>) -> Response {
    let path = request.uri().clone();
    AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("a handler panicked");
        let said = "the request failed on an error of the broker itself; its logs have this trace's id";
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, said).in_form_of(path.path())
    })
}

impl Edge {
    /// Lets a request in while there is room for it, and its reply out while there is room for that.
    async fn admit(&self, client: Client, request: Request<Body>, next: Next) -> Response {
        let uri = request.uri().clone();
        let refused = |exceeded| in_flight::refusal(exceeded).in_form_of(uri.path());
        let share = match self.in_flight.admit(client.address) {
            Ok(share) => share,
            Err(exceeded) => return refused(exceeded),
        };
        let mut request = request.map(|body| share.meter(body));
        request.extensions_mut().insert(share.clone());
        let response = run(next, request).await;
        share.hold(response).unwrap_or_else(refused)
    }

    fn visit(&self, request: &Request<Body>, client: Client) -> Visit {
        let free = origin::is_preflight(request.method(), request.headers());
        let limit = self.policy.limit.as_ref().filter(|_| !free);
        Visit {
            client,
            origin: self.policy.origins.listed(request.headers()).cloned(),
            standing: limit.map(|limit| limit.count(client.address)),
        }
    }

    /// The reply to a request that no handler gets to see.
    fn refuse(&self, visit: &Visit, request: &Request<Body>) -> Option<Response> {
        let (method, headers, path) = (request.method(), request.headers(), request.uri().path());
        if origin::is_preflight(method, headers) {
            let mut response = StatusCode::NO_CONTENT.into_response();
            if visit.origin.is_some() {
                origin::answer_preflight(response.headers_mut());
            }
            return Some(response);
        }
        if let Some(wait) = visit.standing.and_then(|standing| standing.refused_for) {
            let said = "too many requests from your address: wait as long as Retry-After says";
            return Some(ApiError::new(StatusCode::TOO_MANY_REQUESTS, said).after(wait).in_form_of(path));
        }
        if self.policy.origins.is_forged(method, headers) {
            let said = "a page of another origin has sent this request; the broker's list of origins does not have it";
            return Some(ApiError::new(StatusCode::FORBIDDEN, said).in_form_of(path));
        }
        None
    }

    /// The headers that do not follow from what the request asked for.
    fn finish(&self, visit: &Visit, proxied: bool, headers: &mut HeaderMap) {
        headers.reserve(SAFE.len() + 8);
        for (name, value) in &SAFE {
            // A service of the user's may serve pages, and knows what they load.
            if proxied && headers.contains_key(name) {
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
        if let (Some(limit), Some(standing)) = (&self.policy.limit, visit.standing) {
            headers.insert(RATE_LIMIT_POLICY, limit.policy());
            if let Some(value) = limit.header(standing) {
                headers.insert(RATE_LIMIT, value);
            }
        }
    }

    /// A trace from outside is linked, or continued where the Stack trusts it.
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
