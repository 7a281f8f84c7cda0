//! What the broker answers: the Go course's envelope, and problem details for `/v1`.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use weft_runtime::trace;

/// The Go course's envelope.
#[derive(Debug, Serialize)]
pub(crate) struct Envelope {
    error: bool,
    message: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

/// A success in the envelope.
pub(crate) fn success(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Response {
    (status, Json(Envelope { error: false, message: message.into(), data: None, trace_id: None }))
        .into_response()
}

/// A success in the envelope, with data.
pub(crate) fn success_with(
    status: StatusCode,
    message: impl Into<Cow<'static, str>>,
    data: serde_json::Value,
) -> Response {
    (status, Json(Envelope { error: false, message: message.into(), data: Some(data), trace_id: None }))
        .into_response()
}

/// A refusal or a failure, not yet in the form that its path answers in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    pub(crate) retry_after: Option<Duration>,
    /// The request's rest was not read, so the connection can't serve another.
    pub(crate) close: bool,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), retry_after: None, close: false }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn unavailable(message: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message) }
    }

    pub(crate) fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    /// As problem details (RFC 9457), which `/v1` answers in.
    pub(crate) fn problem(self) -> Response {
        let body = Json(Problem {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: self.message.clone(),
            trace_id: trace::current_trace_id(),
        });
        let mut response = self.with_headers(body.into_response());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }

    fn with_headers(&self, mut response: Response) -> Response {
        *response.status_mut() = self.status;
        if let Some(after) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        if self.close {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[derive(Debug, Serialize)]
struct Problem {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let message = self.message.clone().into();
        let envelope = Envelope { error: true, message, data: None, trace_id: trace::current_trace_id() };
        self.with_headers(Json(envelope).into_response())
    }
}
