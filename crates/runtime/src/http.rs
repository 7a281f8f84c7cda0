//! Serving HTTP/1.1 with bounds on slow clients and an end that loses no request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

use crate::lifecycle::Shutdown;
use crate::telemetry::chain;

/// A client that does not finish its header within this is cut; also how long an idle connection is kept.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// When the process is out of file descriptors, accepting again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves a router until shutdown is requested, then ends what is in flight, at most until it is cut.
///
/// Handlers find the peer's address as [`ConnectInfo<SocketAddr>`].
pub async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown) {
    let open = GracefulShutdown::new();
    let mut requested = pin!(shutdown.requested());
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => connect(stream, peer, &router, &open),
                Err(error) => {
                    tracing::warn!(error = chain(&error), "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            () = &mut requested => break,
        }
    }
    drop(listener);
    tokio::select! {
        () = open.shutdown() => {}
        () = shutdown.cut() => {}
    }
}

fn connect(stream: TcpStream, peer: SocketAddr, router: &Router, open: &GracefulShutdown) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = chain(&error), "failed to set TCP_NODELAY");
    }
    let router = router.clone();
    let service = hyper::service::service_fn(move |request| handle(router.clone(), request, peer));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let connection = open.watch(connection);
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%peer, error = chain(&error), "connection ended early");
        }
    });
}

async fn handle(
    router: Router,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Result<Response<Body>, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request).await
}
