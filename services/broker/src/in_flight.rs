//! Bounds on requests in flight, and on the bytes of their bodies and replies.
//!
//! Both are bounded in total and by client address ([`weft_runtime::budget`]), so that neither many requests nor large ones exhaust
//! the process's memory. Bytes count from their arrival for as long as the broker may hold them.

use std::error::Error;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::StatusCode;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use weft_runtime::budget::{Budget, Charge, Exceeded};

use crate::reply::ApiError;
use crate::upstream::RETRY_AFTER;

/// Maximum size of a body, as in the Go original: 1 MiB. More is never held, so it does not count.
pub(crate) const MAX_BODY_BYTES: usize = 1 << 20;
/// What a streamed request counts: the buffers of its two connections.
const STREAM_BYTES: usize = 64 << 10;
/// A reply is written to its connection in chunks of this size, so that bytes that the client has not read still count.
const CHUNK_BYTES: usize = 16 << 10;

/// Bounds in total and for each client address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) requests: usize,
    pub(crate) requests_per_address: usize,
    pub(crate) bytes: usize,
    pub(crate) bytes_per_address: usize,
}

/// Usage of all requests.
#[derive(Debug)]
pub(crate) struct InFlight {
    requests: Budget,
    bytes: Budget,
}

/// Usage of one request; released when the last clone is dropped.
#[derive(Debug, Clone)]
pub(crate) struct Share(Arc<Held>);

#[derive(Debug)]
struct Held {
    _request: Charge,
    bytes: Mutex<Charge>,
    /// The bodies are streamed, so only their buffers count.
    streams: AtomicBool,
}

impl InFlight {
    pub(crate) fn new(bounds: &Bounds) -> Self {
        let Bounds { requests, requests_per_address, bytes, bytes_per_address } = *bounds;
        Self {
            requests: Budget::new(requests, requests_per_address),
            bytes: Budget::new(bytes, bytes_per_address),
        }
    }

    /// Admits a request of this client address.
    pub(crate) fn admit(&self, client: IpAddr) -> Result<Share, Exceeded> {
        Ok(Share(Arc::new(Held {
            _request: self.requests.take(client, 1)?,
            bytes: Mutex::new(self.bytes.take(client, 0)?),
            streams: AtomicBool::new(false),
        })))
    }
}

impl Share {
    /// Counts only buffers from now on, because the bodies are streamed.
    pub(crate) fn stream(&self) -> Result<(), Exceeded> {
        self.grow(STREAM_BYTES)?;
        self.0.streams.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Wraps the request's body: its bytes count as they arrive. Reading fails with [`Exceeded`] when a bound is reached.
    pub(crate) fn meter(&self, body: Body) -> Body {
        if body.is_end_stream() {
            return body;
        }
        Body::new(Metered { body, share: self.clone(), counted_left: MAX_BODY_BYTES })
    }

    /// Counts the reply until the client has read it, in place of the request's body, which is no longer held.
    pub(crate) fn hold(self, response: Response) -> Result<Response, Exceeded> {
        if !self.streams() {
            let bytes = response.body().size_hint().exact().unwrap_or_default();
            self.set(usize::try_from(bytes).unwrap_or(usize::MAX))?;
        }
        Ok(response.map(|body| match body.is_end_stream() {
            true => body,
            false => Body::new(Chunked { body, chunk: Bytes::new(), _share: self }),
        }))
    }

    fn streams(&self) -> bool {
        self.0.streams.load(Ordering::Relaxed)
    }

    /// Counts more bytes for this request.
    pub(crate) fn grow(&self, more: usize) -> Result<(), Exceeded> {
        self.0.bytes.lock().unwrap_or_else(PoisonError::into_inner).grow(more)
    }

    fn set(&self, amount: usize) -> Result<(), Exceeded> {
        let mut bytes = self.0.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        bytes.shrink_to(amount);
        let more = amount - bytes.amount();
        bytes.grow(more)
    }
}

/// The error for a request beyond a bound: 429 for the bound of its client address, 503 for the total bound.
pub(crate) fn refusal(exceeded: Exceeded) -> ApiError {
    match exceeded {
        Exceeded::Address => ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too many requests or bytes in flight from your address; try again after the time in Retry-After",
        )
        .after(RETRY_AFTER),
        Exceeded::Total => ApiError::unavailable(
            "the broker has too many requests or bytes in flight; try again after the time in Retry-After",
            RETRY_AFTER,
        ),
    }
}

/// The bound because of which reading a metered body failed, if that was the reason.
pub(crate) fn exceeded(error: &axum::Error) -> Option<Exceeded> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(exceeded) = error.downcast_ref::<Exceeded>() {
            return Some(*exceeded);
        }
        cause = error.source();
    }
    None
}

struct Metered {
    body: Body,
    share: Share,
    /// Bytes that still count. Beyond them, or after a refusal, bytes are only read to be discarded.
    counted_left: usize,
}

impl HttpBody for Metered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
            && !self.share.streams()
        {
            let bytes = data.len().min(self.counted_left);
            self.counted_left -= bytes;
            if let Err(exceeded) = self.share.grow(bytes) {
                self.counted_left = 0;
                return Poll::Ready(Some(Err(axum::Error::new(exceeded))));
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct Chunked {
    body: Body,
    chunk: Bytes,
    _share: Share,
}

impl HttpBody for Chunked {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.chunk.is_empty() {
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.chunk = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        let length = self.chunk.len().min(CHUNK_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.chunk.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.chunk.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, chunk) = (self.body.size_hint(), self.chunk.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + chunk);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + chunk);
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::response::IntoResponse as _;
    use http_body_util::BodyExt as _;

    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn in_flight(requests: usize, bytes: usize) -> InFlight {
        let (requests_per_address, bytes_per_address) = (requests, bytes);
        InFlight::new(&Bounds { requests, requests_per_address, bytes, bytes_per_address })
    }

    async fn read(share: &Share, bytes: usize) -> Result<usize, Exceeded> {
        let read = share.meter(Body::from(vec![b'x'; bytes])).collect().await;
        read.map(|body| body.to_bytes().len()).map_err(|error| exceeded(&error).unwrap())
    }

    #[tokio::test]
    async fn bytes_count_until_the_request_ends() {
        let in_flight = in_flight(10, 1_000);
        let first = in_flight.admit(CLIENT).unwrap();
        assert_eq!(read(&first, 400).await, Ok(400));
        let second = in_flight.admit(CLIENT).unwrap();
        assert_eq!(read(&second, 400).await, Err(Exceeded::Total));
        drop(first);
        assert_eq!(read(&second, 400).await, Ok(400));
    }

    #[tokio::test]
    async fn discarded_bytes_do_not_count() {
        let in_flight = in_flight(10, 3 * MAX_BODY_BYTES);
        let share = in_flight.admit(CLIENT).unwrap();
        assert_eq!(read(&share, 20 * MAX_BODY_BYTES).await, Ok(20 * MAX_BODY_BYTES));
    }

    #[tokio::test]
    async fn a_streamed_request_counts_its_buffers() {
        let in_flight = in_flight(10, 3 * STREAM_BYTES);
        let share = in_flight.admit(CLIENT).unwrap();
        share.stream().unwrap();
        assert_eq!(read(&share, 10 * STREAM_BYTES).await, Ok(10 * STREAM_BYTES));
        assert_eq!(in_flight.admit(CLIENT).unwrap().stream(), Err(Exceeded::Total));
    }

    #[tokio::test]
    async fn a_reply_counts_until_it_is_read() {
        let in_flight = in_flight(10, 4 * CHUNK_BYTES);
        let share = in_flight.admit(CLIENT).unwrap();
        let reply = share.hold(vec![b'x'; 2 * CHUNK_BYTES].into_response()).unwrap();
        assert_eq!(reply.body().size_hint().exact(), Some(2 * CHUNK_BYTES as u64));
        let other = in_flight.admit(CLIENT).unwrap();
        assert_eq!(read(&other, CHUNK_BYTES).await, Err(Exceeded::Total));
        let mut body = reply.into_body();
        for left in [CHUNK_BYTES as u64, 0] {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), CHUNK_BYTES);
            assert_eq!(body.size_hint().exact(), Some(left));
        }
        assert!(body.is_end_stream());
        drop(body);
        assert_eq!(read(&other, CHUNK_BYTES).await, Ok(CHUNK_BYTES));
    }

    #[tokio::test]
    async fn bounds_the_number_of_requests() {
        let in_flight = in_flight(2, 0);
        let first = in_flight.admit(CLIENT).unwrap();
        assert_eq!(in_flight.admit(CLIENT).unwrap_err(), Exceeded::Total);
        drop(first);
        assert!(in_flight.admit(CLIENT).is_ok());
    }
}
