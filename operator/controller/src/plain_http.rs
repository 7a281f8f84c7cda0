//! One HTTP request on a connection of its own: for the few that the operator sends to anybody but the API server.

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const LONGEST_ANSWER: usize = 1 << 20;

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Sends it to this address and reads the whole answer.
///
/// # Errors
/// When no whole answer comes, or one of more than 1 MiB.
pub(crate) async fn exchange(
    address: &str,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, Failure> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async move {
        let (parts, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, LONGEST_ANSWER).collect().await?.to_bytes();
        Ok::<_, Failure>(Response::from_parts(parts, body))
    };
    tokio::select! {
        answer = exchange => answer,
        // Ends before the answer only when it has failed.
        ended = connection => Err(ended.err().map_or_else(|| "the connection was closed".into(), Into::into)),
    }
}
