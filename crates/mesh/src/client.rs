//! Channels to other services, by name.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::body::Body;
use tonic::transport::{self, Endpoint};
use tonic::{Code, Status, TimeoutExpired};
use tower::Service;
use tracing::{Instrument as _, Span, field};
use weft_runtime::metrics::Metrics;
use weft_runtime::telemetry::chain;
use weft_runtime::{net, trace};

use crate::config::{MeshConfig, Security};
use crate::connect::{ATTEMPT, Connector};
use crate::deadline::Deadline;
use crate::metrics::Calls;
use crate::observed::{Observation, ObservedBody};
use crate::resend;

/// A peer that vanished without closing its connection is detected within this plus [`KEEPALIVE_TIMEOUT`].
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The services that this process can call.
#[derive(Debug, Clone)]
pub struct Mesh {
    config: Arc<MeshConfig>,
    calls: Calls,
}

/// A service whose address is not configured correctly.
#[derive(Debug, thiserror::Error)]
pub enum MeshError {
    /// Neither the list of addresses nor a domain is set.
    #[error(
        "no address for service `{service}`: set WEFT_MESH_DOMAIN, or add the service to WEFT_MESH_ADDRESSES"
    )]
    UnknownService {
        /// Name of the service.
        service: String,
    },
    /// The address is invalid.
    #[error("invalid address `{address}` for service `{service}`")]
    Address {
        /// Name of the service.
        service: String,
        /// The address as configured.
        address: String,
        /// Why.
        #[source]
        source: transport::Error,
    },
}

impl Mesh {
    /// The mesh of this process.
    pub fn new(config: MeshConfig, metrics: &Metrics) -> Self {
        Self { config: Arc::new(config), calls: Calls::register(metrics, "client") }
    }

    /// Creates a channel to a service. Connects at the first call, and again when the connection is lost. A call waits up to
    /// 1.5 s for a service that has just become unreachable.
    ///
    /// # Errors
    /// When no valid address is configured; not when the service is unavailable.
    pub fn channel(&self, service: &str) -> Result<Channel, MeshError> {
        let address = self
            .config
            .address(service)
            .ok_or_else(|| MeshError::UnknownService { service: service.to_owned() })?;
        let scheme = match self.config.security {
            Security::Plaintext => "http",
        };
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
            .map_err(|source| MeshError::Address {
                service: service.to_owned(),
                address: address.clone(),
                source,
            })?
            .http2_keep_alive_interval(KEEPALIVE_EVERY)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            // h2 counts each reply to a call that was cancelled, over the connection's life, and closes the connection with all
            // calls on it after 1,024 (hyperium/h2 856). The limit is against a hostile server; all peers are services of the Stack.
            .http2_max_local_error_reset_streams(None);
        let (host, port) = address.rsplit_once(':').unwrap_or((&address, ""));
        // IPv6 addresses are in brackets.
        let host = host.trim_matches(['[', ']']);
        let peer = Peer {
            service: service.to_owned(),
            host: host.to_owned(),
            port: port.parse().unwrap_or_default(),
        };
        Ok(Channel {
            inner: endpoint.connect_with_connector_lazy(Connector::new(&peer.host, peer.port)),
            peer: Arc::new(peer),
            calls: self.calls.clone(),
            timeout: self.config.timeout,
        })
    }
}

#[derive(Debug)]
pub(crate) struct Peer {
    service: String,
    host: String,
    port: u16,
}

/// A channel to one service. Cheap to clone; clones share the connection.
#[derive(Debug, Clone)]
pub struct Channel {
    inner: transport::Channel,
    pub(crate) peer: Arc<Peer>,
    pub(crate) calls: Calls,
    timeout: Duration,
}

impl Channel {
    /// Sets the deadline of calls whose caller has none.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The deadline of calls whose caller has none.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Checks that the service accepts connections.
    ///
    /// # Errors
    /// When connecting fails or takes more than a second.
    pub async fn probe(&self) -> io::Result<()> {
        net::connect_within(&self.peer.host, self.peer.port, ATTEMPT).await.map(drop)
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let deadline = Deadline::within(self.timeout);
        let span = client_span(&self.peer, request.uri().path());
        let observation = Observation::start(span.clone(), self.calls.clone(), request.uri().path(), false);
        trace::inject(&span, request.headers_mut());
        deadline.to_headers(request.headers_mut());
        exchange(self.inner.clone(), request, Arc::clone(&self.peer), deadline, observation)
            .instrument(span)
            .boxed()
    }
}

async fn exchange(
    channel: transport::Channel,
    request: Request<Body>,
    peer: Arc<Peer>,
    deadline: Deadline,
    mut observation: Observation,
) -> Result<Response<Body>, Status> {
    let request = resend::buffered(request).await.inspect_err(|status| observation.end(status.code()))?;
    match tokio::time::timeout_at(deadline.instant(), resend::send(channel, request)).await {
        Ok(Ok(response)) => {
            observation.read(response.headers());
            Ok(response.map(|body| Body::new(ObservedBody::new(body, observation))))
        }
        // tonic also applies the timeout from the header, and may be the first to notice that it has passed.
        Ok(Err(error)) if !timed_out(&error) => {
            observation.end(Code::Unavailable);
            Err(unreachable(&peer, &error))
        }
        Ok(Err(_)) | Err(_) => {
            observation.end(Code::DeadlineExceeded);
            Err(Status::deadline_exceeded(format!("{} did not answer in time", peer.service)))
        }
    }
}

fn timed_out(error: &transport::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<TimeoutExpired>())
}

/// Status of a call without an answer: connecting failed, or the connection was lost.
fn unreachable(peer: &Peer, error: &transport::Error) -> Status {
    let Peer { service, host, port } = peer;
    tracing::debug!(service, host, port, error = chain(error), "call failed without an answer");
    Status::unavailable(format!("{service} can't be reached at {host}:{port}: {}", chain(error)))
}

pub(crate) fn client_span(peer: &Peer, path: &str) -> Span {
    let method = path.trim_start_matches('/');
    tracing::info_span!(
        "client",
        otel.kind = "client",
        otel.name = method,
        otel.status_code = field::Empty,
        rpc.system.name = "grpc",
        rpc.method = method,
        rpc.response.status_code = field::Empty,
        "error.type" = field::Empty,
        server.address = peer.host,
        server.port = i64::from(peer.port),
    )
}
