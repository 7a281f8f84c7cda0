//! Bodies on their way through: never held as a whole, bounded in size and in the time between two parts.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::StatusCode;
use futures::{Stream, stream};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Bounds;
use crate::reply::ApiError;

/// Why a request's body can't be sent on. It is the client's fault, though the call to the service fails because of it.
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

/// Whose turn it is while a request is sent on. Only that side's timer runs, so which of two timers ends first is never
/// the question.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// The client has to send the next part; the body's own timer runs.
    Client,
    /// The service has to take the part that it was given, or to answer, since this moment.
    Service(Instant),
}

/// What the caller of a service knows of the request's body.
#[derive(Debug)]
pub(super) struct Sending {
    turn: watch::Receiver<Turn>,
    fault: Arc<OnceLock<Fault>>,
}

impl Sending {
    /// The client's fault because of which the call failed.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault.get().copied()
    }

    /// Returns when the service has neither taken more of the body nor answered within this time.
    pub(super) async fn service_is_silent(&mut self, timeout: Duration) {
        loop {
            let turn = *self.turn.borrow_and_update();
            let deadline = async {
                match turn {
                    Turn::Client => std::future::pending().await,
                    Turn::Service(since) => tokio::time::sleep_until(since + timeout).await,
                }
            };
            // The body hands the turn to the service when it is dropped: after that nothing changes any more.
            let changed = async {
                if self.turn.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = deadline => return,
            }
        }
    }
}

/// Tells whose turn it is. Once the body is at its end, or nobody reads it any more, it is the service's.
#[derive(Debug)]
struct Turns(watch::Sender<Turn>);

impl Turns {
    fn service(&self) {
        self.0.send_replace(Turn::Service(Instant::now()));
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.service();
    }
}

/// A request's body on its way to a service.
pub(super) fn bounded(body: Body, bounds: &Bounds) -> (Body, Sending) {
    let (turns, turn) = watch::channel(Turn::Service(Instant::now()));
    let fault = Arc::new(OnceLock::new());
    let sending = Sending { turn, fault: Arc::clone(&fault) };
    if body.is_end_stream() {
        return (Body::empty(), sending);
    }
    let parts = Parts { body, turns: Turns(turns), fault, left: bounds.body_bytes, timeout: bounds.timeout };
    (Body::from_stream(stream::unfold(Some(parts), Parts::next)), sending)
}

struct Parts {
    body: Body,
    turns: Turns,
    fault: Arc<OnceLock<Fault>>,
    left: u64,
    timeout: Duration,
}

impl Parts {
    /// The next part; nothing after the last one or after the first error.
    async fn next(parts: Option<Self>) -> Option<(io::Result<Bytes>, Option<Self>)> {
        let mut parts = parts?;
        parts.turns.0.send_replace(Turn::Client);
        let part = in_time(&mut parts.body, parts.timeout).await?;
        let checked = part.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Fault::TooSlow,
            _ => Fault::BrokenOff,
        });
        let checked = checked.and_then(|part| {
            parts.left = parts.left.checked_sub(part.len() as u64).ok_or(Fault::TooLarge)?;
            Ok(part)
        });
        match checked {
            Ok(part) => {
                parts.turns.service();
                Some((Ok(part), Some(parts)))
            }
            Err(fault) => {
                let _ = parts.fault.set(fault);
                Some((Err(io::Error::other("the request's body is at fault")), None))
            }
        }
    }
}

/// A reply's body on its way back: cut when the service falls silent in the middle of it.
pub(super) fn timed(body: Body, timeout: Duration) -> Body {
    Body::from_stream(reply_parts(body, timeout))
}

/// Ends after the first error.
fn reply_parts(body: Body, timeout: Duration) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        let part = in_time(&mut body, timeout).await?;
        let rest = part.is_ok().then_some(body);
        Some((part, rest))
    })
}

/// The next part, or an error of the kind [`io::ErrorKind::TimedOut`].
async fn in_time(body: &mut Body, timeout: Duration) -> Option<io::Result<Bytes>> {
    match tokio::time::timeout(timeout, next_data(body)).await {
        Ok(part) => part,
        Err(_) => Some(Err(io::ErrorKind::TimedOut.into())),
    }
}

async fn next_data(body: &mut Body) -> Option<io::Result<Bytes>> {
    loop {
        match body.frame().await?.map(Frame::into_data) {
            Ok(Ok(data)) => return Some(Ok(data)),
            // Trailers are not sent on.
            Ok(Err(_)) => {}
            Err(error) => return Some(Err(io::Error::other(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc::unbounded;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(1);
    const BOUNDS: Bounds = Bounds { timeout: TIMEOUT, body_bytes: 100 };

    fn part(text: &'static str) -> io::Result<Bytes> {
        Ok(Bytes::from_static(text.as_bytes()))
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_client_is_timed_while_its_next_part_is_awaited() {
        let (client, parts) = unbounded();
        let (mut body, mut sending) = bounded(Body::from_stream(parts), &BOUNDS);
        client.unbounded_send(part("first")).unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
        // Both sides have exactly the same time. The service's timer must not be the one that ends.
        tokio::select! {
            biased;
            () = sending.service_is_silent(TIMEOUT) => panic!("the service is blamed for a slow client"),
            frame = body.frame() => assert!(frame.unwrap().is_err()),
        }
        assert_eq!(sending.fault(), Some(Fault::TooSlow));
    }

    #[tokio::test(start_paused = true)]
    async fn the_service_is_timed_from_the_end_of_the_body() {
        let (client, parts) = unbounded::<io::Result<Bytes>>();
        let (mut body, mut sending) = bounded(Body::from_stream(parts), &BOUNDS);
        let late = async {
            tokio::time::sleep(TIMEOUT * 9 / 10).await;
            drop(client);
        };
        let (frame, ()) = tokio::join!(body.frame(), late);
        assert!(frame.is_none());
        let begun = Instant::now();
        sending.service_is_silent(TIMEOUT).await;
        assert!(begun.elapsed() >= TIMEOUT, "{:?}", begun.elapsed());
        assert_eq!(sending.fault(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_service_is_timed_when_it_does_not_take_a_part() {
        let (mut body, mut sending) = bounded(Body::from("all of it"), &BOUNDS);
        let begun = Instant::now();
        assert!(body.frame().await.unwrap().is_ok());
        sending.service_is_silent(TIMEOUT).await;
        assert!(begun.elapsed() >= TIMEOUT, "{:?}", begun.elapsed());
    }
}
