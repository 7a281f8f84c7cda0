//! Retries calls that the server has provably not processed.
//!
//! A connection can end just when a call is sent on it, because its pod drains or was replaced. RFC 9113 (6.8, 8.7) defines
//! which calls the peer has not processed. gRPC retries these for every method ("transparent retry", proposal A6).

use std::error::Error;

use bytes::Bytes;
use h2::Reason;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use tonic::body::Body;
use tonic::transport::{self, Channel};
use tower::{Service as _, ServiceExt as _};

/// Maximum number of attempts. gRPC allows one retry after a call was on the wire, and any number before that.
const ATTEMPTS: usize = 3;

/// Reads the request body into memory, so that it can be sent again.
///
/// # Errors
/// When the message can't be encoded.
pub(crate) async fn buffered(request: Request<Body>) -> Result<Request<Bytes>, tonic::Status> {
    let (head, body) = request.into_parts();
    Ok(Request::from_parts(head, body.collect().await?.to_bytes()))
}

/// Sends a request, and retries it while no server has processed it.
pub(crate) async fn send(
    mut channel: Channel,
    request: Request<Bytes>,
) -> Result<http::Response<Body>, transport::Error> {
    for _ in 1..ATTEMPTS {
        match channel.ready().await?.call(request.clone().map(body)).await {
            Err(error) if is_unprocessed(&error) => {
                tracing::debug!(
                    error = weft_runtime::telemetry::chain(&error),
                    "retrying an unprocessed call"
                );
            }
            outcome => return outcome,
        }
    }
    channel.ready().await?.call(request.map(body)).await
}

fn body(message: Bytes) -> Body {
    Body::new(Full::new(message))
}

fn is_unprocessed(error: &transport::Error) -> bool {
    std::iter::successors(error.source(), |&cause| cause.source()).any(|cause| {
        // hyper reports "canceled" for a request that was never put on the connection.
        cause.downcast_ref().is_some_and(hyper::Error::is_canceled)
            || cause.downcast_ref().is_some_and(is_refused)
    })
}

fn is_refused(error: &h2::Error) -> bool {
    let drained = error.is_go_away() && error.reason() == Some(Reason::NO_ERROR);
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    error.is_remote() && (drained || refused)
}
