//! Reads and discards what a handler left of a request body.
//!
//! hyper closes the connection when a body is dropped before its end, and a client that still sends would get a reset in place of
//! the reply.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;

/// How long the rest may take to arrive.
const REST_WITHIN: Duration = Duration::from_secs(5);

/// A request body that hands over its rest when it is dropped before its end.
#[derive(Debug)]
pub(super) struct Watched(Option<(Incoming, oneshot::Sender<Incoming>)>);

/// The rest of a body, once its handler has dropped it.
#[derive(Debug)]
pub(super) struct Rest(oneshot::Receiver<Incoming>);

/// Watches a body. If the rest is dropped, the connection is closed as without this.
pub(super) fn watch(body: Incoming) -> (Watched, Rest) {
    let (sender, rest) = oneshot::channel();
    (Watched(Some((body, sender))), Rest(rest))
}

impl Rest {
    /// Reads and discards the rest in its own task, if the body has been dropped before its end.
    pub(super) fn discard(mut self) {
        let Ok(mut rest) = self.0.try_recv() else { return };
        tokio::spawn(tokio::time::timeout(REST_WITHIN, async move {
            while let Some(Ok(_)) = poll_fn(|context| Pin::new(&mut rest).poll_frame(context)).await {}
        }));
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some((body, _)) = &mut self.0 else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|(body, _)| body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |(body, _)| body.size_hint())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some((body, rest)) = self.0.take().filter(|(body, _)| !body.is_end_stream()) {
            // Fails when the reply was not awaited, or closes the connection.
            let _ = rest.send(body);
        }
    }
}
