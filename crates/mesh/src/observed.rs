//! Records the span and the metric of a call when its last frame has passed, with its status code.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;
use tonic::Code;
use tracing::Span;

use crate::metrics::Calls;

/// Records the end of a call exactly once: with its code, or as cancelled when dropped earlier.
#[derive(Debug)]
pub(crate) struct Observation {
    span: Span,
    calls: Calls,
    method: String,
    started: Instant,
    server: bool,
    done: bool,
}

impl Observation {
    pub(crate) fn start(span: Span, calls: Calls, path: &str, server: bool) -> Self {
        Self {
            span,
            calls,
            method: path.trim_start_matches('/').to_owned(),
            started: Instant::now(),
            server,
            done: false,
        }
    }

    pub(crate) fn end(&mut self, code: Code) {
        if std::mem::replace(&mut self.done, true) {
            return;
        }
        let name = code_name(code);
        self.span.record("rpc.response.status_code", name);
        if is_error(code, self.server) {
            self.span.record("error.type", name);
            self.span.record("otel.status_code", "ERROR");
        }
        let took = self.started.elapsed();
        if self.server {
            self.calls.observe_served(&self.method, code, took);
        } else {
            self.calls.observe(&self.method, name, took);
        }
    }

    /// Ends the call if these headers or trailers have the status.
    pub(crate) fn read(&mut self, headers: &HeaderMap) {
        if let Some(status) = headers.get("grpc-status") {
            self.end(Code::from_bytes(status.as_bytes()));
        }
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.end(Code::Cancelled);
    }
}

pin_project_lite::pin_project! {
    /// A response body that ends an [`Observation`] with the status in its trailers.
    pub(crate) struct ObservedBody<B> {
        #[pin]
        inner: B,
        observation: Observation,
    }
}

impl<B> ObservedBody<B> {
    pub(crate) fn new(inner: B, observation: Observation) -> Self {
        Self { inner, observation }
    }
}

impl<B: Body<Data = Bytes>> Body for ObservedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let polled = this.inner.poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    this.observation.read(trailers);
                }
            }
            Poll::Ready(Some(Err(_))) => this.observation.end(Code::Unknown),
            Poll::Ready(None) => this.observation.end(Code::Unknown),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Whether a code is an error. On a server only codes that the server causes are errors; on a client every failure is one
/// (OpenTelemetry semantic conventions for gRPC, 1.44).
pub(crate) fn is_error(code: Code, server: bool) -> bool {
    if server {
        matches!(
            code,
            Code::Unknown
                | Code::DeadlineExceeded
                | Code::Unimplemented
                | Code::Internal
                | Code::Unavailable
                | Code::DataLoss
        )
    } else {
        code != Code::Ok
    }
}

/// Name of the code as in the protocol, for `rpc.response.status_code`.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
