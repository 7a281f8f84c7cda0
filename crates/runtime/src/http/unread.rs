//! A request body whose unread rest is read and discarded.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use http::header::EXPECT;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

/// How long the rest may take to arrive.
const REST_WITHIN: Duration = Duration::from_secs(5);

/// A request body. When it is dropped, its rest is read for a while: hyper would close the connection, and a client that still
/// sends would get a reset in place of the reply.
#[derive(Debug)]
pub(super) struct UnreadBody {
    body: Option<Incoming>,
    /// The client sends its body only when it is read, so that there is no rest.
    expects: bool,
}

impl UnreadBody {
    pub(super) fn wrap(request: Request<Incoming>) -> Request<Self> {
        let expects = request.headers().contains_key(EXPECT);
        request.map(|body| Self { body: Some(body), expects })
    }
}

impl Body for UnreadBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(context);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for UnreadBody {
    fn drop(&mut self) {
        let rest = self.body.take().filter(|body| !body.is_end_stream() && !self.expects);
        let Some(mut rest) = rest else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(tokio::time::timeout(REST_WITHIN, async move {
            while let Some(Ok(_)) = poll_fn(|context| Pin::new(&mut rest).poll_frame(context)).await {}
        }));
    }
}
