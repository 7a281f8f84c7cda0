//! Bodies of forwarded requests and replies: streamed, and bounded in size and in the time between two parts.

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

/// Why forwarding a request's body failed because of the client. The call to the service fails, too, but the service is not to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    TooLarge,
    TooSlow,
    Incomplete,
}

impl Fault {
    pub(super) fn as_error(self) -> ApiError {
        let (status, message) = match self {
            Self::TooLarge => {
                (StatusCode::PAYLOAD_TOO_LARGE, "request body too large to be forwarded to a service")
            }
            Self::TooSlow => {
                (StatusCode::REQUEST_TIMEOUT, "timed out: the request body did not arrive in time")
            }
            Self::Incomplete => {
                (StatusCode::BAD_REQUEST, "the connection closed before the end of the request body")
            }
        };
        ApiError::new(status, message).closing()
    }
}

/// Which side has to act next while a request is forwarded. Only that side's timer runs, so the result never depends on which of two
/// timers ends first.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// The client has to send the next part. The timer is in the body.
    Client,
    /// Since this time, the service has to take the current part, or to answer.
    Service(Instant),
}

/// The caller's view of a request body that is being forwarded.
#[derive(Debug)]
pub(super) struct Sending {
    turn: watch::Receiver<Turn>,
    fault: Arc<OnceLock<Fault>>,
}

impl Sending {
    /// The fault of the client because of which the call failed, if any.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault.get().copied()
    }

    /// Completes when the service has neither taken more of the body nor answered within the timeout.
    pub(super) async fn service_timed_out(&mut self, timeout: Duration) {
        loop {
            let turn = *self.turn.borrow_and_update();
            let deadline = async {
                match turn {
                    Turn::Client => std::future::pending().await,
                    Turn::Service(since) => tokio::time::sleep_until(since + timeout).await,
                }
            };
            // When the body is dropped, it is the service's turn, and nothing changes after that.
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

/// Publishes whose turn it is. Once the body has ended or is no longer read, it is the service's turn.
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

/// Wraps a request's body with the bounds on size and time.
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
    /// The next part; `None` after the last part or the first error.
    async fn next(parts: Option<Self>) -> Option<(io::Result<Bytes>, Option<Self>)> {
        let mut parts = parts?;
        parts.turns.0.send_replace(Turn::Client);
        let part = in_time(&mut parts.body, parts.timeout).await?;
        let checked = part.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Fault::TooSlow,
            _ => Fault::Incomplete,
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
                Some((Err(io::Error::other("reading the request body failed")), None))
            }
        }
    }
}

/// Wraps a reply's body: ends with an error if the service stops sending for longer than the timeout.
pub(super) fn timed(body: Body, timeout: Duration) -> Body {
    Body::from_stream(reply_parts(body, timeout))
}

/// The stream ends after the first error.
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
            // Trailers are not forwarded.
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
    async fn a_slow_client_is_not_blamed_on_the_service() {
        let (client, parts) = unbounded();
        let (mut body, mut sending) = bounded(Body::from_stream(parts), &BOUNDS);
        client.unbounded_send(part("first")).unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "first");
        // Both sides have exactly the same timeout. The service's timer must not fire.
        tokio::select! {
            biased;
            () = sending.service_timed_out(TIMEOUT) => panic!("the service is blamed for a slow client"),
            frame = body.frame() => assert!(frame.unwrap().is_err()),
        }
        assert_eq!(sending.fault(), Some(Fault::TooSlow));
    }

    #[tokio::test(start_paused = true)]
    async fn the_service_timeout_starts_at_the_end_of_the_body() {
        let (client, parts) = unbounded::<io::Result<Bytes>>();
        let (mut body, mut sending) = bounded(Body::from_stream(parts), &BOUNDS);
        let late = async {
            tokio::time::sleep(TIMEOUT * 9 / 10).await;
            drop(client);
        };
        let (frame, ()) = tokio::join!(body.frame(), late);
        assert!(frame.is_none());
        let started = Instant::now();
        sending.service_timed_out(TIMEOUT).await;
        assert!(started.elapsed() >= TIMEOUT, "{:?}", started.elapsed());
        assert_eq!(sending.fault(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_service_times_out_if_it_does_not_take_a_part() {
        let (mut body, mut sending) = bounded(Body::from("all of it"), &BOUNDS);
        let started = Instant::now();
        assert!(body.frame().await.unwrap().is_ok());
        sending.service_timed_out(TIMEOUT).await;
        assert!(started.elapsed() >= TIMEOUT, "{:?}", started.elapsed());
    }
}
