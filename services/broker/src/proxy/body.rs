//! Bodies on their way through: never held as a whole, bounded in size and in the time between two parts.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::StatusCode;
use futures::{Stream, StreamExt as _, stream};

use super::Bounds;
use crate::reply::ApiError;

/// What is wrong with a request's body, if something is.
pub(super) type Noted = Arc<OnceLock<Fault>>;

/// What is wrong with a request's body: it is the client's fault, though the call to the service fails of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    TooLarge,
    TooSlow,
    BrokenOff,
}

impl Fault {
    pub(super) fn as_error(self) -> ApiError {
        let (status, said) = match self {
            Self::TooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than the broker sends on to a service")
            }
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
            Self::BrokenOff => (StatusCode::BAD_REQUEST, "the body broke off"),
        };
        ApiError::new(status, said).closing()
    }
}

/// A request's body on its way to a service.
pub(super) fn bounded(body: Body, bounds: &Bounds) -> (Body, Noted) {
    let noted = Noted::default();
    if body.is_end_stream() {
        return (Body::empty(), noted);
    }
    let (fault, most) = (Arc::clone(&noted), bounds.body_bytes);
    let note = move |found: Fault| {
        let _ = fault.set(found);
        io::Error::other("the request's body is at fault")
    };
    let mut sent = 0_u64;
    let parts = in_time(body, bounds.timeout).map(move |part| match part {
        Ok(part) => {
            sent = sent.saturating_add(part.len() as u64);
            if sent > most { Err(note(Fault::TooLarge)) } else { Ok(part) }
        }
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(note(Fault::TooSlow)),
        Err(_) => Err(note(Fault::BrokenOff)),
    });
    (Body::from_stream(parts), noted)
}

/// A reply's body on its way back: cut when the service falls silent in the middle of it.
pub(super) fn timed(body: Body, timeout: Duration) -> Body {
    Body::from_stream(in_time(body, timeout))
}

/// Ends after the first error.
fn in_time(body: Body, timeout: Duration) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::unfold(Some(body.into_data_stream()), move |parts| async move {
        let mut parts = parts?;
        match tokio::time::timeout(timeout, parts.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(part))) => Some((Ok(part), Some(parts))),
            Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
            Err(_) => Some((Err(io::Error::from(io::ErrorKind::TimedOut)), None)),
        }
    })
}
