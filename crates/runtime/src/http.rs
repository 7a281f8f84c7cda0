//! Serving HTTP/1.1 with bounds on slow clients and an end that loses no request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response};
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
/// Handlers find the peer's address as [`ConnectInfo<SocketAddr>`]. Once clients shall go elsewhere, each answer is the last
/// on its connection: the next request then finds another process, instead of a connection that is being closed.
pub async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown) {
    let open = GracefulShutdown::new();
    let mut requested = pin!(shutdown.requested());
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => connect(stream, peer, &router, &open, &shutdown),
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

fn connect(
    stream: TcpStream,
    peer: SocketAddr,
    router: &Router,
    open: &GracefulShutdown,
    shutdown: &Shutdown,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = chain(&error), "failed to set TCP_NODELAY");
    }
    let (router, shutdown) = (router.clone(), shutdown.clone());
    let service =
        hyper::service::service_fn(move |request| handle(router.clone(), request, peer, shutdown.clone()));
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
    shutdown: Shutdown,
) -> Result<Response<Body>, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    let mut response = router.oneshot(request).await?;
    if shutdown.is_leaving() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n";

    /// Sends a request and reads until its answer's body, `well`, has come.
    async fn ask(stream: &mut TcpStream) -> String {
        stream.write_all(REQUEST).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"well") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "closed before the answer");
        }
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn whoever_is_leaving_answers_once_more_on_each_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::default();
        let router = Router::new().route("/", get(async || "well"));
        let serving = tokio::spawn(serve(listener, router, shutdown.clone()));
        let mut kept = TcpStream::connect(address).await.unwrap();
        assert!(!ask(&mut kept).await.contains("connection: close"));
        shutdown.leave();
        assert!(ask(&mut kept).await.contains("connection: close"));
        assert_eq!(kept.read(&mut [0]).await.unwrap(), 0, "it is still open");
        let mut late = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut late).await.contains("connection: close"), "new work is still taken");
        shutdown.request();
        serving.await.unwrap();
    }
}
