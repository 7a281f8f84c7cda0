//! A client connection that fails when the client does not read.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::Sleep;

/// A TCP connection whose writes time out when the client reads nothing.
#[derive(Debug)]
pub(super) struct ClientStream {
    inner: TcpStream,
    send_timeout: Duration,
    /// The send timeout; set while a write is blocked.
    waiting: Option<Pin<Box<Sleep>>>,
    backlog: Arc<Backlog>,
}

/// Whether a write is blocked because the client does not read.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    waiting: AtomicBool,
    cleared: Notify,
}

impl Backlog {
    /// Returns when no write is blocked. If a client pipelines requests and reads no reply, its next request must wait here:
    /// hyper does not limit response heads that it has not sent.
    pub(super) async fn clear(&self) {
        loop {
            let cleared = self.cleared.notified();
            if !self.waiting.load(Ordering::Acquire) {
                return;
            }
            cleared.await;
        }
    }

    fn set(&self, waiting: bool) {
        if self.waiting.swap(waiting, Ordering::AcqRel) && !waiting {
            self.cleared.notify_waiters();
        }
    }
}

impl ClientStream {
    pub(super) fn new(inner: TcpStream, send_timeout: Duration) -> Self {
        Self { inner, send_timeout, waiting: None, backlog: Arc::default() }
    }

    pub(super) fn backlog(&self) -> Arc<Backlog> {
        Arc::clone(&self.backlog)
    }

    /// Applies the send timeout to a write. Any progress resets the timeout.
    fn timed<T>(&mut self, context: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            self.backlog.set(false);
            return written;
        }
        self.backlog.set(true);
        let timeout = self.send_timeout;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if waiting.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        // Discard what the kernel still buffers for this client.
        let _ = self.inner.set_zero_linger();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its replies")))
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.timed(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        self.timed(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
