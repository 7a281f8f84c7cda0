//! Forwards requests under a route's prefix to one of the user's own services, and the replies back, both as streams. Limits, origins and
//! traces apply as for all other requests: see [`crate::edge`].

mod body;
mod headers;
mod path;

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST};
use axum::http::uri::{Authority, PathAndQuery, Scheme};
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tracing::{Instrument as _, Span, field};
use weft_mesh::Caller;
use weft_runtime::telemetry::chain;
use weft_runtime::trace;

use self::body::{Fault, Sending};
use crate::client::Client;
use crate::in_flight::{self, Share};
use crate::reply::ApiError;
use crate::signed_in::Callers;
use crate::upstream;

/// Upper bound. The timeout is also at most half of the time that the service has to answer, so that a service that can't be reached
/// is always 503, never 504.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Shorter than the idle timeout of most servers, so that few pooled connections turn out to be closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Buffer of a connection to a service in each direction; also the maximum size of the head of a reply.
const BUFFER_BYTES: usize = 32 << 10;

/// Bounds on forwarded requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// For the client: to send each part of the body. For the service: to take each part, to start its reply after the last one, and to
    /// send each part of the reply.
    pub(crate) timeout: Duration,
    /// Maximum size of a request's body.
    pub(crate) body_bytes: u64,
}

/// Forwards requests.
pub(crate) struct Forwarder {
    http: HttpClient<HttpConnector, Body>,
    callers: Arc<Callers>,
    bounds: Bounds,
}

/// Marks a reply that comes from a routed service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Forwarded;

impl Forwarder {
    pub(crate) fn new(callers: Arc<Callers>, bounds: Bounds) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT.min(bounds.timeout / 2)));
        connector.set_nodelay(true);
        let http = HttpClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http1_max_buf_size(BUFFER_BYTES)
            .build(connector);
        Self { http, callers, bounds }
    }

    /// Forwards a request to a service, and returns its reply.
    ///
    /// # Errors
    /// 400 when the path is invalid, 401 when the request has an invalid access token of the broker; 400, 408 and 413 when its body is
    /// incomplete, too slow or too large; 503 when the service can't be reached, 504 when it is too slow, 502 when it closes the connection
    /// or does not answer in HTTP.
    pub(crate) async fn send(
        &self,
        to: &Authority,
        client: Client,
        request: Request<Body>,
    ) -> Result<Response<Body>, ApiError> {
        let Self { http, callers, bounds } = self;
        path::check(request.uri().path())?;
        if let Some(share) = request.extensions().get::<Share>() {
            share.stream().map_err(in_flight::refusal)?;
        }
        let caller = callers.identify_if_ours(request.headers()).await?;
        if announced(request.headers()).is_some_and(|bytes| bytes > bounds.body_bytes) {
            return Err(Fault::TooLarge.as_error());
        }
        let span = span(&request, to);
        let (request, mut sending) = outgoing(request, to, client, caller.as_ref(), &span, bounds)?;
        let answer = async {
            tokio::select! {
                biased;
                answer = http.request(request) => Some(answer),
                () = sending.service_timed_out(bounds.timeout) => None,
            }
        };
        let answer = answer.instrument(span.clone()).await;
        let error = match answer {
            Some(Ok(response)) => return incoming(response.map(Body::new), &span, bounds),
            Some(Err(error)) => {
                if let Some(fault) = sending.fault() {
                    failed(&span, "body");
                    return Err(fault.as_error());
                }
                tracing::warn!(to = to.as_str(), error = chain(&error), "a routed service failed");
                failed(&span, if error.is_connect() { "connect" } else { "reply" });
                unusable(error.is_connect())
            }
            None => {
                failed(&span, "timeout");
                ApiError::new(
                    StatusCode::GATEWAY_TIMEOUT,
                    "the service behind this path did not answer in time",
                )
            }
        };
        Err(error)
    }
}

fn unusable(connect_failed: bool) -> ApiError {
    if connect_failed {
        let message = "the service behind this path can't be reached; try again";
        return ApiError::unavailable(message, upstream::RETRY_AFTER);
    }
    ApiError::new(
        StatusCode::BAD_GATEWAY,
        "the service behind this path closed the connection, or did not answer in HTTP",
    )
}

fn outgoing(
    request: Request<Body>,
    to: &Authority,
    client: Client,
    caller: Option<&Caller>,
    span: &Span,
    bounds: &Bounds,
) -> Result<(Request<Body>, Sending), ApiError> {
    let (mut parts, body) = request.into_parts();
    let host = parts.headers.remove(HOST);
    headers::filter_request(&mut parts.headers, client, host);
    if let Some(caller) = caller {
        // The service must not get the token: with it, the service could act as the user.
        parts.headers.remove(AUTHORIZATION);
        headers::caller(&mut parts.headers, caller)?;
    }
    trace::inject(span, &mut parts.headers);
    let path = parts.uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    let uri = Uri::builder().scheme(Scheme::HTTP).authority(to.clone()).path_and_query(path).build();
    parts.uri = uri.map_err(|_| ApiError::bad_request("invalid path: it can't be forwarded"))?;
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    let (body, sending) = body::bounded(body, bounds);
    Ok((Request::from_parts(parts, body), sending))
}

fn incoming(response: Response<Body>, span: &Span, bounds: &Bounds) -> Result<Response<Body>, ApiError> {
    let (mut parts, body) = response.into_parts();
    span.record("http.response.status_code", parts.status.as_u16());
    if parts.status.is_server_error() {
        failed(span, parts.status.as_str());
    }
    if parts.status.is_informational() {
        return Err(unusable(false));
    }
    headers::filter_response(&mut parts.headers);
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    parts.extensions.insert(Forwarded);
    let body = if body.is_end_stream() { body } else { body::timed(body, bounds.timeout) };
    Ok(Response::from_parts(parts, body))
}

fn announced(headers: &HeaderMap<HeaderValue>) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn failed(span: &Span, kind: &str) {
    span.record("error.type", kind);
    span.record("otel.status_code", "ERROR");
}

fn span(request: &Request<Body>, to: &Authority) -> Span {
    tracing::info_span!(
        "route",
        otel.kind = "client",
        otel.name = request.method().as_str(),
        otel.status_code = field::Empty,
        http.request.method = request.method().as_str(),
        http.response.status_code = field::Empty,
        url.path = request.uri().path(),
        server.address = to.host(),
        server.port = i64::from(to.port_u16().unwrap_or(80)),
        "error.type" = field::Empty,
    )
}
