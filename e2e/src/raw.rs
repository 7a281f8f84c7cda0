//! HTTP/1.1 over a socket, to send what client libraries do not.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const WITHIN: Duration = Duration::from_secs(20);

/// A response.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header lines, in lower case.
    pub head: String,
    /// The body; null if it is not JSON.
    pub body: Value,
}

/// A TCP connection.
#[derive(Debug)]
pub struct Connection(TcpStream);

/// Sends bytes on a new connection, then reads the response.
///
/// # Errors
/// When the connection is refused or reset, or the response times out.
pub async fn exchange(address: &str, bytes: &[u8]) -> Result<Answer> {
    let mut connection = Connection::open(address).await?;
    connection.send(bytes).await?;
    connection.answer().await
}

/// Builds a POST of a JSON body with a Content-Length.
#[must_use]
pub fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: broker\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When the connection is refused.
    pub async fn open(address: &str) -> Result<Self> {
        let stream =
            TcpStream::connect(address).await.with_context(|| format!("failed to connect to {address}"))?;
        Ok(Self(stream))
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the peer resets the connection or does not read in time.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        timeout(WITHIN, self.0.write_all(bytes)).await.context("timed out sending")??;
        Ok(())
    }

    /// Closes the sending side.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn end(&mut self) -> Result<()> {
        Ok(self.0.shutdown().await?)
    }

    /// Reads one response.
    ///
    /// # Errors
    /// When the response times out or is incomplete.
    pub async fn answer(&mut self) -> Result<Answer> {
        timeout(WITHIN, self.read()).await.context("timed out waiting for a response")?
    }

    /// Waits until the peer closes the connection; ignores data until then.
    ///
    /// # Errors
    /// When the connection stays open.
    pub async fn closed(&mut self) -> Result<()> {
        let mut rest = Vec::new();
        // A reset also closes the connection.
        let _ = timeout(WITHIN, self.0.read_to_end(&mut rest))
            .await
            .context("the peer keeps the connection open")?;
        Ok(())
    }

    async fn read(&mut self) -> Result<Answer> {
        let mut bytes = Vec::new();
        let head_end = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            self.more(&mut bytes).await?;
        };
        let head = String::from_utf8_lossy(&bytes[..head_end]).to_lowercase();
        let status =
            head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("not an HTTP response")?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(Ok(0), str::parse)?;
        while bytes.len() < head_end + length {
            self.more(&mut bytes).await?;
        }
        let body = serde_json::from_slice(&bytes[head_end..]).unwrap_or_default();
        Ok(Answer { status, head, body })
    }

    async fn more(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        if self.0.read_buf(bytes).await? == 0 {
            bail!("the connection was closed after {} bytes of the response", bytes.len());
        }
        Ok(())
    }
}
