//! Load on the broker: HTTP/1.1 connections that are as light as can be, and every answer checked.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::future::try_join_all;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

/// How many requests may be under way at once.
pub(crate) const CONNECTIONS: usize = 64;

/// What is sent, again and again.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// `host:port` of the broker.
    pub(crate) address: String,
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) body: Bytes,
    /// What every answer has to be.
    pub(crate) answer: StatusCode,
}

/// One request at a fixed rate.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// When it was due.
    pub(crate) due: Instant,
    pub(crate) latency: Duration,
    /// Its trace, from `traceresponse`.
    pub(crate) trace: Option<String>,
}

/// How many requests are answered each second when every connection sends the next one as soon as it has an answer.
/// What happens in `warm_up` does not count.
pub(crate) async fn closed_loop(load: &Load, warm_up: Duration, measured: Duration) -> Result<f64> {
    closed_loop_of(load, CONNECTIONS, warm_up, measured).await
}

/// The same with another number of connections.
pub(crate) async fn closed_loop_of(
    load: &Load,
    connections: usize,
    warm_up: Duration,
    measured: Duration,
) -> Result<f64> {
    let connections = open(load, connections).await?;
    let begin = Instant::now() + warm_up;
    let end = begin + measured;
    let counts = try_join_all(connections.into_iter().map(|mut connection| async move {
        let mut count = 0_u64;
        loop {
            load.send(&mut connection).await?;
            let now = Instant::now();
            if now >= end {
                return anyhow::Ok(count);
            }
            count += u64::from(now >= begin);
        }
    }));
    let total: u64 = counts.await?.iter().sum();
    Ok(u32::try_from(total).map(f64::from)? / measured.as_secs_f64())
}

/// Sends at a fixed rate, whatever the answers do.
pub(crate) async fn fixed_rate(load: &Load, per_second: u32, count: u32) -> Result<Vec<Sample>> {
    let connections = open(load, CONNECTIONS).await?;
    let begin = Instant::now() + Duration::from_millis(100);
    let every = Duration::from_secs(1) / per_second;
    let samples =
        try_join_all(connections.into_iter().zip(0_u32..).map(|(mut connection, first)| async move {
            let mut samples = Vec::new();
            for turn in (first..count).step_by(CONNECTIONS) {
                let due = begin + every * turn;
                sleep_until(due).await;
                let trace = load.send(&mut connection).await?;
                samples.push(Sample { due, latency: due.elapsed(), trace });
            }
            anyhow::Ok(samples)
        }));
    Ok(samples.await?.into_iter().flatten().collect())
}

async fn open(load: &Load, connections: usize) -> Result<Vec<SendRequest<Full<Bytes>>>> {
    try_join_all((0..connections).map(|_| load.connect())).await
}

impl Load {
    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(&self.address)
            .await
            .with_context(|| format!("failed to connect to {}", self.address))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // Its error reaches whoever sends on it.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn send(&self, connection: &mut SendRequest<Full<Bytes>>) -> Result<Option<String>> {
        let request = Request::builder()
            .method(self.method.clone())
            .uri(self.path)
            .header(HOST, &self.address)
            .header(CONTENT_TYPE, "application/json");
        let response = connection.send_request(request.body(Full::new(self.body.clone()))?).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        ensure!(head.status == self.answer, "answered {}: {}", head.status, String::from_utf8_lossy(&body));
        let header = head.headers.get("traceresponse").and_then(|value| value.to_str().ok());
        Ok(header.and_then(|value| value.split('-').nth(1)).map(str::to_owned))
    }
}
