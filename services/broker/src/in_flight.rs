//! What requests hold while they are under way: a place, and the bytes of their bodies and replies.
//!
//! Both are bounded in total and for each client address ([`weft_runtime::budget`]), so that neither many requests nor large
//! ones take the process's memory. Bytes count as they arrive, and for as long as the broker may hold them.

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

use crate::body;
use crate::reply::ApiError;
use crate::upstream::RETRY_AFTER;

/// What a request counts for whose bodies are only passed on: the buffers of its two connections.
const STREAM_BYTES: usize = 64 << 10;
/// A reply is handed to its connection in pieces of this size: what the client has not taken is then still counted.
const PIECE_BYTES: usize = 16 << 10;

/// How much all requests, and those of one address, may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) requests: usize,
    pub(crate) requests_per_address: usize,
    pub(crate) bytes: usize,
    pub(crate) bytes_per_address: usize,
}

/// What all requests hold.
#[derive(Debug)]
pub(crate) struct InFlight {
    requests: Budget,
    bytes: Budget,
}

/// What one request holds; given back with the last clone.
#[derive(Debug, Clone)]
pub(crate) struct Share(Arc<Held>);

#[derive(Debug)]
struct Held {
    _place: Charge,
    bytes: Mutex<Charge>,
    /// Its bodies are passed on, and never held as a whole.
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

    /// Lets a request of this client in.
    pub(crate) fn admit(&self, client: IpAddr) -> Result<Share, Exceeded> {
        Ok(Share(Arc::new(Held {
            _place: self.requests.take(client, 1)?,
            bytes: Mutex::new(self.bytes.take(client, 0)?),
            streams: AtomicBool::new(false),
        })))
    }
}

impl Share {
    /// From now on its bodies are passed on as they come, and only their buffers count.
    pub(crate) fn stream(&self) -> Result<(), Exceeded> {
        self.grow(STREAM_BYTES)?;
        self.0.streams.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// A request's body that counts as it arrives. Its error says so when there is no room left.
    pub(crate) fn meter(&self, body: Body) -> Body {
        if body.is_end_stream() {
            return body;
        }
        Body::new(Metered { body, share: self.clone(), counts: body::LIMIT })
    }

    /// Counts a reply until the client has it; by then what the request brought is gone.
    pub(crate) fn hold(self, response: Response) -> Result<Response, Exceeded> {
        if !self.streams() {
            let bytes = response.body().size_hint().exact().unwrap_or_default();
            self.set(usize::try_from(bytes).unwrap_or(usize::MAX))?;
        }
        Ok(response.map(|body| match body.is_end_stream() {
            true => body,
            false => Body::new(InPieces { body, piece: Bytes::new(), _share: self }),
        }))
    }

    fn streams(&self) -> bool {
        self.0.streams.load(Ordering::Relaxed)
    }

    /// Counts more bytes that are held for this request.
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

/// The answer to a request for which there is no room: 429 when its own address has the room, otherwise 503.
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

/// Why a metered body ended early, when it was for want of room.
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
    /// So much more counts. The rest is too much to be kept, or was refused once: it passes, to be thrown away.
    counts: usize,
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
            let bytes = data.len().min(self.counts);
            self.counts -= bytes;
            if let Err(exceeded) = self.share.grow(bytes) {
                self.counts = 0;
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

struct InPieces {
    body: Body,
    piece: Bytes,
    _share: Share,
}

impl HttpBody for InPieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.piece.is_empty() {
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.piece = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        let length = self.piece.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.piece.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.piece.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (rest, piece) = (self.body.size_hint(), self.piece.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + piece);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + piece);
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
    async fn bytes_count_until_their_request_is_over() {
        let in_flight = in_flight(10, 1_000);
        let first = in_flight.admit(CLIENT).unwrap();
        assert_eq!(read(&first, 400).await, Ok(400));
        let second = in_flight.admit(CLIENT).unwrap();
        assert_eq!(read(&second, 400).await, Err(Exceeded::Total));
        drop(first);
        assert_eq!(read(&second, 400).await, Ok(400));
    }

    #[tokio::test]
    async fn what_is_too_much_to_be_kept_does_not_count() {
        let in_flight = in_flight(10, 3 * body::LIMIT);
        let share = in_flight.admit(CLIENT).unwrap();
        assert_eq!(read(&share, 20 * body::LIMIT).await, Ok(20 * body::LIMIT));
    }

    #[tokio::test]
    async fn what_is_passed_on_counts_as_its_buffers() {
        let in_flight = in_flight(10, 3 * STREAM_BYTES);
        let share = in_flight.admit(CLIENT).unwrap();
        share.stream().unwrap();
        assert_eq!(read(&share, 10 * STREAM_BYTES).await, Ok(10 * STREAM_BYTES));
        assert_eq!(in_flight.admit(CLIENT).unwrap().stream(), Err(Exceeded::Total));
    }

    #[tokio::test]
    async fn a_reply_counts_until_it_is_taken() {
        let in_flight = in_flight(10, 4 * PIECE_BYTES);
        let share = in_flight.admit(CLIENT).unwrap();
        let reply = share.hold(vec![b'x'; 2 * PIECE_BYTES].into_response()).unwrap();
        assert_eq!(reply.body().size_hint().exact(), Some(2 * PIECE_BYTES as u64));
        let other = in_flight.admit(CLIENT).unwrap();
        assert_eq!(read(&other, PIECE_BYTES).await, Err(Exceeded::Total));
        let mut body = reply.into_body();
        for left in [PIECE_BYTES as u64, 0] {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), PIECE_BYTES);
            assert_eq!(body.size_hint().exact(), Some(left));
        }
        assert!(body.is_end_stream());
        drop(body);
        assert_eq!(read(&other, PIECE_BYTES).await, Ok(PIECE_BYTES));
    }

    #[tokio::test]
    async fn requests_are_bounded() {
        let in_flight = in_flight(2, 0);
        let only = in_flight.admit(CLIENT).unwrap();
        assert_eq!(in_flight.admit(CLIENT).unwrap_err(), Exceeded::Total);
        drop(only);
        assert!(in_flight.admit(CLIENT).is_ok());
    }
}
