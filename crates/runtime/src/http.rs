//! HTTP/1.1 server with limits on clients, also slow ones, and a graceful shutdown that loses no request.

mod bounds;
mod refused;
mod stream;
mod unread;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use http::header::{CONNECTION, CONTENT_TYPE, EXPECT, HOST, TRANSFER_ENCODING};
use http::uri::Authority;
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

pub use self::bounds::Bounds;
use self::refused::Refused;
use self::stream::{Backlog, ClientStream};
use crate::budget::Charge;
use crate::lifecycle::Shutdown;
use crate::telemetry::chain;

/// Time for a client to send the request line and headers; also how long an idle connection is kept.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Size of request line and headers together that is always accepted; hyper accepts up to half more, then answers 431. Also how
/// much of a body or a reply a connection buffers.
const HEADER_BYTES: usize = 32 << 10;
/// Replies that the kernel buffers for a client that has not read them. Counts as memory of the process.
const SEND_BUFFER_BYTES: usize = 256 << 10;
/// Pause after a failed accept: without file descriptors, accepting again at once would fail in a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves a router until shutdown is requested, then waits for requests in flight until [`Shutdown::cut`].
///
/// Handlers find the peer's address as [`ConnectInfo<SocketAddr>`]. After [`Shutdown::leave`] each response closes its
/// connection, so that the client's next request goes to another process and not to a connection that is being closed.
///
/// A connection over the limits is answered 429 (per address) or 503 (total), and closed. A client that reads nothing of its
/// replies within the send timeout is disconnected; until it reads, its next request is not started.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, shutdown: Shutdown) {
    let server =
        Server { router, open: GracefulShutdown::new(), shutdown, send_timeout: bounds.send_timeout };
    let mut refused = Refused::default();
    let mut requested = pin!(server.shutdown.requested());
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => match bounds.admit(peer.ip()) {
                    Ok(place) => server.connect(stream, peer, place),
                    Err(exceeded) => refused.tell(stream, exceeded),
                },
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
        () = server.open.shutdown() => {}
        () = server.shutdown.cut() => {}
    }
}

struct Server {
    router: Router,
    open: GracefulShutdown,
    shutdown: Shutdown,
    send_timeout: Duration,
}

impl Server {
    fn connect(&self, stream: TcpStream, peer: SocketAddr, place: Charge) {
        let tuned = stream
            .set_nodelay(true)
            .and_then(|()| SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER_BYTES));
        if let Err(error) = tuned {
            tracing::debug!(error = chain(&error), "failed to set a connection's options");
        }
        let stream = ClientStream::new(stream, self.send_timeout);
        let (router, shutdown, backlog) = (self.router.clone(), self.shutdown.clone(), stream.backlog());
        let service = hyper::service::service_fn(move |request| {
            handle(router.clone(), request, peer, Arc::clone(&backlog), shutdown.clone())
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        let connection = self.open.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%peer, error = chain(&error), "connection ended early");
            }
            drop(place);
        });
    }
}

async fn handle(
    router: Router,
    request: Request<Incoming>,
    peer: SocketAddr,
    backlog: Arc<Backlog>,
    shutdown: Shutdown,
) -> Result<Response<Body>, Infallible> {
    backlog.clear().await;
    if let Some((status, message)) = refusal(&request) {
        let mut response = Response::new(Body::from(message));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        return Ok(response);
    }
    let (parts, body) = request.into_parts();
    // With `Expect` the client sends its body only when it is read, so that there is no rest.
    let (body, rest) = if body.is_end_stream() || parts.headers.contains_key(EXPECT) {
        (Body::new(body), None)
    } else {
        let (body, rest) = unread::watch(body);
        (Body::new(body), Some(rest))
    };
    let mut request = Request::from_parts(parts, body);
    request.extensions_mut().insert(ConnectInfo(peer));
    let mut response = router.oneshot(request).await?;
    if shutdown.is_leaving() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let closes = response.headers().get(CONNECTION).is_some_and(|connection| connection == "close");
    if let Some(rest) = rest.filter(|_| !closes) {
        rest.discard();
    }
    Ok(response)
}

/// What HTTP requires of a request and hyper does not check (RFC 9112, 3.2 and 6.1).
fn refusal<B>(request: &Request<B>) -> Option<(StatusCode, &'static str)> {
    let headers = request.headers();
    let mut hosts = headers.get_all(HOST).iter();
    let valid = match (hosts.next(), hosts.next()) {
        (None, _) => request.version() < Version::HTTP_11,
        (Some(host), None) => host.is_empty() || Authority::try_from(host.as_bytes()).is_ok(),
        (Some(_), Some(_)) => false,
    };
    if !valid {
        return Some((StatusCode::BAD_REQUEST, "the request must have one valid Host header\n"));
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let chunked = codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    (!chunked).then_some((StatusCode::NOT_IMPLEMENTED, "the only supported transfer coding is chunked\n"))
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n";

    /// Sends a request and reads until the end of the response, the body `well`.
    async fn ask(stream: &mut TcpStream) -> String {
        stream.write_all(REQUEST).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"well") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "closed before the response");
        }
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn closes_each_connection_after_one_response_once_leaving() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = Shutdown::default();
        let router = Router::new().route("/", get(async || "well"));
        let serving = tokio::spawn(serve(listener, router, Bounds::default(), shutdown.clone()));
        let mut kept = TcpStream::connect(address).await.unwrap();
        assert!(!ask(&mut kept).await.contains("connection: close"));
        shutdown.leave();
        assert!(ask(&mut kept).await.contains("connection: close"));
        assert_eq!(kept.read(&mut [0]).await.unwrap(), 0, "the connection is still open");
        let mut second = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut second).await.contains("connection: close"), "new connections are still served");
        shutdown.request();
        serving.await.unwrap();
    }

    async fn served(router: Router, bounds: Bounds) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, router, bounds, Shutdown::default()));
        address
    }

    fn well() -> Router {
        Router::new().route("/", get(async || "well"))
    }

    async fn read_all(stream: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        // What was sent before a reset is still read.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn connect_from(source: [u8; 4], to: SocketAddr) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((source, 0))).unwrap();
        socket.connect(to).await.unwrap()
    }

    #[tokio::test]
    async fn limits_connections_per_address_and_in_total() {
        let address = served(well(), Bounds::new(5, 2)).await;
        let client = [127, 0, 0, 1];
        let mut kept = [connect_from(client, address).await, connect_from(client, address).await];
        for stream in &mut kept {
            ask(stream).await;
        }
        let refused = read_all(&mut connect_from(client, address).await).await;
        assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("retry-after: 1"), "{refused}");
        // Other addresses are served, up to the total.
        let mut other = connect_from([127, 0, 0, 2], address).await;
        ask(&mut other).await;
        let mut third = connect_from([127, 0, 0, 3], address).await;
        ask(&mut third).await;
        let refused = read_all(&mut connect_from([127, 0, 0, 3], address).await).await;
        assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("retry-after: 1"), "{refused}");
        drop(kept);
        // The server accepts again once it has seen the end of a connection.
        loop {
            let mut again = connect_from(client, address).await;
            again.write_all(REQUEST).await.unwrap();
            let mut start = [0; 12];
            if again.read_exact(&mut start).await.is_ok() && start.ends_with(b"200") {
                break;
            }
        }
    }

    #[tokio::test]
    async fn only_the_total_limits_a_proxy() {
        let bounds = Bounds::new(4, 1).with_proxies(|address| address.is_loopback());
        let address = served(well(), bounds).await;
        let mut kept = Vec::new();
        for _ in 0..4 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            ask(&mut stream).await;
            kept.push(stream);
        }
        let refused = read_all(&mut TcpStream::connect(address).await.unwrap()).await;
        assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    }

    #[tokio::test]
    async fn disconnects_a_client_that_pipelines_and_never_reads() {
        let bounds = Bounds::default().with_send_timeout(Duration::from_millis(500));
        let address = served(well(), bounds).await;
        // Replies without a body: hyper would buffer any number of them.
        let requests = b"HEAD / HTTP/1.1\r\nHost: here\r\n\r\n".repeat(1_000);
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut sent = 0_usize;
        while stream.write_all(&requests).await.is_ok() {
            sent += requests.len();
            assert!(sent < 256 << 20, "everything was accepted and the client was not disconnected");
        }
    }

    #[tokio::test]
    async fn serves_a_client_that_reads_slowly() {
        let body = "x".repeat(8 << 20);
        let router = Router::new().route("/", get(async move || body));
        let bounds = Bounds::default().with_send_timeout(Duration::from_secs(10));
        let mut stream = TcpStream::connect(served(router, bounds).await).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").await.unwrap();
        let (mut buffer, mut read) = (vec![0; 64 << 10], 0);
        loop {
            match stream.read(&mut buffer).await.unwrap() {
                0 => break,
                some => read += some,
            }
            tokio::task::yield_now().await;
        }
        assert!(read > 8 << 20, "{read}");
    }

    #[tokio::test]
    async fn refuses_a_request_without_one_valid_host_or_with_another_coding() {
        let address = served(well(), Bounds::default()).await;
        for (headers, status) in [
            ("Host: here\r\n", 200),
            ("Host: [::1]:8080\r\n", 200),
            ("Host:\r\n", 200),
            ("", 400),
            ("Host: a\r\nHost: a\r\n", 400),
            ("Host: a b\r\n", 400),
            ("Host: a/b\r\n", 400),
            ("Host: a\r\nTransfer-Encoding: gzip, chunked\r\n", 501),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("GET / HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let answer = read_all(&mut stream).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{headers:?}: {answer}");
        }
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        assert!(read_all(&mut stream).await.contains(" 200 "));
    }

    #[tokio::test]
    async fn a_body_that_nothing_reads_does_not_cut_the_reply() {
        let body = "x".repeat(8 << 20);
        let router = Router::new().route("/", get(async move || body));
        let mut stream = TcpStream::connect(served(router, Bounds::default()).await).await.unwrap();
        for _ in 0..2 {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\nContent-Length: 7\r\n\r\n").await.unwrap();
            let mut read = Vec::new();
            while read.len() < 1_000 {
                assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0);
            }
            stream.write_all(b"{\"x\":1}").await.unwrap();
            let head = read.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
            while read.len() < head + (8 << 20) {
                assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0, "cut after {} bytes", read.len());
            }
        }
    }

    #[tokio::test]
    async fn a_closing_reply_does_not_wait_for_the_rest_of_a_body() {
        let router = Router::new().route("/", get(async || ([(CONNECTION, "close")], "well")));
        let mut stream = TcpStream::connect(served(router, Bounds::default()).await).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\nContent-Length: 7\r\n\r\n").await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(3), read_all(&mut stream)).await;
        assert!(answer.expect("closed at once").ends_with("well"));
    }

    #[tokio::test]
    async fn answers_431_when_the_headers_are_too_long() {
        let address = served(well(), Bounds::default()).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET /{} HTTP/1.1\r\nHost: here\r\n\r\n", "x".repeat(60_000));
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_all(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}
