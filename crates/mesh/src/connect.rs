//! Establishes the connections of a channel.
//!
//! A call waits for a connection within its deadline. While a service starts, its pods can be ready before every node routes
//! to them, and connections are refused in between. So a failed attempt is repeated until the service has been unreachable
//! for [`PATIENCE`]. After that, calls fail at their first failed attempt.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tower::Service;
use weft_runtime::net;

/// Timeout of one attempt, including name resolution. Shorter than the usual deadline, to leave time for a second attempt.
pub(crate) const ATTEMPT: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_millis(1_500);
const PAUSE: Duration = Duration::from_millis(50);
/// Failures further apart than this belong to separate outages, because the state in between is unknown.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub(crate) struct Connector {
    host: Arc<str>,
    port: u16,
    outage: Arc<Mutex<Option<Outage>>>,
}

#[derive(Debug, Clone, Copy)]
struct Outage {
    since: Instant,
    last_failure: Instant,
}

impl Connector {
    pub(crate) fn new(host: &str, port: u16) -> Self {
        Self { host: host.into(), port, outage: Arc::default() }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { host, port, outage } = self.clone();
        async move {
            let stream = repeat(&outage, || net::connect_within(&host, port, ATTEMPT)).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(stream))
        }
        .boxed()
    }
}

async fn repeat<T, F: Future<Output = io::Result<T>>>(
    outage: &Mutex<Option<Outage>>,
    mut attempt: impl FnMut() -> F,
) -> io::Result<T> {
    loop {
        let begun = Instant::now();
        let error = match attempt().await {
            Ok(connected) => {
                *outage.lock().unwrap_or_else(PoisonError::into_inner) = None;
                return Ok(connected);
            }
            Err(error) => error,
        };
        // tonic polls an attempt only while a call waits for it. If the caller has left in the meantime, the failure is out of
        // date and must not fail the next call.
        if begun.elapsed() > 2 * ATTEMPT {
            continue;
        }
        if unreachable_for(outage, begun) >= PATIENCE {
            return Err(error);
        }
        sleep(PAUSE).await;
    }
}

/// Records a failed attempt. Returns how long the outage has lasted.
fn unreachable_for(outage: &Mutex<Option<Outage>>, begun: Instant) -> Duration {
    let now = Instant::now();
    let mut outage = outage.lock().unwrap_or_else(PoisonError::into_inner);
    let same = outage.filter(|outage| now - outage.last_failure < FORGOTTEN_AFTER);
    let since = same.map_or(begun, |outage| outage.since);
    *outage = Some(Outage { since, last_failure: now });
    now - since
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const REFUSED: io::ErrorKind = io::ErrorKind::ConnectionRefused;

    #[tokio::test(start_paused = true)]
    async fn waits_for_a_service_that_becomes_reachable() {
        let (outage, attempts) = (Mutex::default(), Cell::new(0));
        let connected = repeat(&outage, || {
            attempts.set(attempts.get() + 1);
            let answers = attempts.get() == 20;
            async move { if answers { Ok("connected") } else { Err(io::Error::from(REFUSED)) } }
        });
        assert_eq!(connected.await.unwrap(), "connected");
        assert!(outage.lock().unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn fails_at_the_first_attempt_during_a_long_outage() {
        let (outage, attempts) = (Mutex::default(), Cell::new(0));
        let refuse = || {
            attempts.set(attempts.get() + 1);
            async { Err::<(), _>(io::Error::from(REFUSED)) }
        };
        let begun = Instant::now();
        assert_eq!(repeat(&outage, refuse).await.unwrap_err().kind(), REFUSED);
        assert!((PATIENCE..PATIENCE + 2 * PAUSE).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        let before = attempts.get();
        repeat(&outage, refuse).await.unwrap_err();
        assert_eq!(attempts.get(), before + 1);

        sleep(FORGOTTEN_AFTER).await;
        repeat(&outage, refuse).await.unwrap_err();
        assert!(attempts.get() > before + 2, "attempts are repeated in a new outage");
    }

    #[tokio::test(start_paused = true)]
    async fn ignores_the_failure_of_an_attempt_whose_caller_has_left() {
        let outage = Mutex::new(Some(Outage { since: Instant::now(), last_failure: Instant::now() }));
        let attempts = Cell::new(0);
        let connecting = repeat(&outage, || {
            attempts.set(attempts.get() + 1);
            let first = attempts.get() == 1;
            async move {
                if !first {
                    return Ok("connected");
                }
                sleep(ATTEMPT).await;
                Err(io::Error::from(REFUSED))
            }
        });
        tokio::pin!(connecting);
        // The caller has a deadline of 100 ms, and the next call comes a minute later.
        tokio::time::timeout(Duration::from_millis(100), connecting.as_mut()).await.unwrap_err();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(connecting.await.unwrap(), "connected");
    }
}
