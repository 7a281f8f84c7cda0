//! gRPC server for other services, with a graceful shutdown that loses no call.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument as _, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use weft_runtime::lifecycle::Shutdown;
use weft_runtime::metrics::Metrics;
use weft_runtime::process::{self, ProcessError};
use weft_runtime::{Process, trace};

use crate::config::GRPC_PORT;
use crate::deadline::Deadline;
use crate::metrics::Calls;
use crate::observed::{Observation, ObservedBody};

/// Maximum number of calls that a peer has reset before this server accepted them; above it h2 closes the connection. A peer sends
/// the calls of all its clients on one connection, and under load many of these clients disconnect. With h2's default of 20 that
/// would fail the calls of the others.
const MAX_PENDING_RESETS: usize = 10_000;

/// A gRPC server in the mesh.
#[derive(Debug, Clone)]
pub struct Server {
    routes: Routes,
    observe: Observe,
    shutdown: Shutdown,
}

/// The server failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to serve gRPC")]
pub struct ServeError(#[from] tonic::transport::Error);

/// Listens on `WEFT_GRPC_ADDR`.
///
/// # Errors
/// When the setting is not an address, or listening on the address fails.
pub async fn listen(process: &Process) -> Result<TcpListener, ProcessError> {
    let everywhere = SocketAddr::from(([0, 0, 0, 0], GRPC_PORT));
    process::listen(&process.settings, "WEFT_GRPC_ADDR", everywhere).await
}

impl Server {
    /// A server without services. Create one per process, because it registers metrics.
    pub fn new(metrics: &Metrics, shutdown: Shutdown) -> Self {
        Self { routes: Routes::default(), observe: Observe(Calls::register(metrics, "server")), shutdown }
    }

    /// Adds a service.
    #[must_use]
    pub fn serving<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Error = Infallible> + NamedService + Clone + Send + Sync + 'static,
        S::Response: axum::response::IntoResponse,
        S::Future: Send + 'static,
    {
        self.routes = self.routes.add_service(service);
        self
    }

    /// Serves until shutdown is requested. Then sends GOAWAY and finishes calls in flight; what is left when the drain timeout
    /// has passed is aborted.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(self, listener: TcpListener) -> Result<(), ServeError> {
        let Self { routes, observe, shutdown } = self;
        let requested = shutdown.clone();
        let serving = tonic::transport::Server::builder()
            .http2_max_pending_accept_reset_streams(Some(MAX_PENDING_RESETS))
            .layer(observe)
            .add_routes(routes)
            .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), async move {
                requested.requested().await;
            });
        tokio::select! {
            served = serving => Ok(served?),
            () = shutdown.cut() => Ok(()),
        }
    }
}

/// Adds the span, deadline and metric to every call.
#[derive(Debug, Clone)]
struct Observe(Calls);

impl<S> Layer<S> for Observe {
    type Service = Observed<S>;

    fn layer(&self, inner: S) -> Observed<S> {
        Observed { inner, calls: self.0.clone() }
    }
}

#[derive(Debug, Clone)]
struct Observed<S> {
    inner: S,
    calls: Calls,
}

impl<S> Service<Request<Body>> for Observed<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<Body>, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let span = server_span(request.uri().path());
        // Inside the mesh the caller's trace is continued.
        let _ = span.set_parent(trace::extract(request.headers()));
        let observation = Observation::start(span.clone(), self.calls.clone(), request.uri().path(), true);
        let deadline = Deadline::from_headers(request.headers());
        let handling = span.in_scope(|| self.inner.call(request));
        answer(handling, deadline, observation, span.clone()).instrument(span).boxed()
    }
}

async fn answer<F, E>(
    handling: F,
    deadline: Option<Deadline>,
    mut observation: Observation,
    span: Span,
) -> Result<Response<Body>, E>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    let handling = AssertUnwindSafe(handling).catch_unwind();
    let outcome = match deadline {
        None => handling.await,
        Some(deadline) => match tokio::time::timeout_at(deadline.instant(), deadline.scope(handling)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                observation.end(Code::DeadlineExceeded);
                let status = Status::deadline_exceeded("the deadline passed before the answer was ready");
                return Ok(status.into_http());
            }
        },
    };
    let mut response = match outcome {
        Ok(response) => response?,
        Err(_) => {
            tracing::error!("a handler panicked");
            Status::internal("internal error; find the reason in the service's log by the trace id")
                .into_http()
        }
    };
    if let Some(value) = trace::response_header(&span) {
        response.headers_mut().insert(trace::TRACE_RESPONSE, value);
    }
    observation.read(response.headers());
    Ok(response.map(|body| Body::new(ObservedBody::new(body, observation))))
}

pub(crate) fn server_span(path: &str) -> Span {
    let method = path.trim_start_matches('/');
    tracing::info_span!(
        "server",
        otel.kind = "server",
        otel.name = method,
        otel.status_code = field::Empty,
        rpc.system.name = "grpc",
        rpc.method = method,
        rpc.response.status_code = field::Empty,
        "error.type" = field::Empty,
    )
}
