//! A connection's bytes, with a bound on a client that does not read.

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

/// A TCP connection that fails when its client has taken nothing for some time.
#[derive(Debug)]
pub(super) struct ClientStream {
    inner: TcpStream,
    send_timeout: Duration,
    /// Runs while the client takes nothing.
    waiting: Option<Pin<Box<Sleep>>>,
    backlog: Arc<Backlog>,
}

/// Whether replies wait for the client to take them.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    waiting: AtomicBool,
    cleared: Notify,
}

impl Backlog {
    /// Returns when nothing waits for the client. A connection whose client pipelines requests and reads no reply must not
    /// go on with the next one: hyper itself puts no bound on heads that it has not sent.
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

    /// Any progress ends the wait and starts the next one.
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
        // What the kernel still has for this client goes at once, too.
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
