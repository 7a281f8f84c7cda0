//! Refuses connections over the limits. They are answered while that is cheap, and closed.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use crate::budget::Exceeded;

/// Maximum concurrent answers; above it connections are closed without an answer.
const ANSWERS: usize = 64;
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Rate limit of the log line, so that a flood does not fill the log.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Answers and counts refused connections.
pub(super) struct Refused {
    answers: Arc<Semaphore>,
    since_logged: u64,
    logged: Option<Instant>,
}

impl Default for Refused {
    fn default() -> Self {
        Self { answers: Arc::new(Semaphore::new(ANSWERS)), since_logged: 0, logged: None }
    }
}

impl Refused {
    /// Answers why the connection is refused, and closes it.
    pub(super) fn tell(&mut self, stream: TcpStream, exceeded: Exceeded) {
        self.log(exceeded);
        let Ok(place) = Arc::clone(&self.answers).try_acquire_owned() else { return };
        tokio::spawn(async move {
            // Fails when the client is gone already.
            let _ = timeout(ANSWER_WITHIN, answer(stream, exceeded)).await;
            drop(place);
        });
    }

    fn log(&mut self, exceeded: Exceeded) {
        self.since_logged += 1;
        if self.logged.is_none_or(|logged| logged.elapsed() >= LOG_EVERY) {
            tracing::warn!(count = self.since_logged, reason = %exceeded, "connections refused");
            (self.since_logged, self.logged) = (0, Some(Instant::now()));
        }
    }
}

async fn answer(mut stream: TcpStream, exceeded: Exceeded) -> io::Result<()> {
    let (status, message) = match exceeded {
        Exceeded::Address => ("429 Too Many Requests", "too many connections from your address\n"),
        Exceeded::Total => ("503 Service Unavailable", "too many connections\n"),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nretry-after: 1\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{message}",
        message.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing a socket with unread input resets the connection, and the client would lose the answer.
    let mut rest = [0; 4096];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
