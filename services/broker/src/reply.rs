//! What the broker answers: the Go course's envelope, and problem details for `/v1`.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use weft_runtime::trace;

/// The Go course's envelope.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Envelope {
    error: bool,
    /// For a person.
    #[schema(value_type = String)]
    message: Cow<'static, str>,
    /// In errors: the trace that says more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, pattern = "^[0-9a-f]{32}$")]
    trace_id: Option<String>,
}

/// The envelope with data.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DataEnvelope<T> {
    error: bool,
    /// For a person.
    #[schema(value_type = String)]
    message: Cow<'static, str>,
    data: T,
}

/// A success in the envelope.
pub(crate) fn success(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Response {
    (status, Json(Envelope { error: false, message: message.into(), trace_id: None })).into_response()
}

/// A success in the envelope, with data.
pub(crate) fn success_with<T: Serialize>(
    status: StatusCode,
    message: impl Into<Cow<'static, str>>,
    data: T,
) -> Response {
    (status, Json(DataEnvelope { error: false, message: message.into(), data })).into_response()
}

/// A refusal or a failure, not yet in the form that its path answers in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: Cow<'static, str>,
    pub(crate) retry_after: Option<Duration>,
    /// The request's rest was not read, so the connection can't serve another.
    pub(crate) close: bool,
    /// `WWW-Authenticate`: what would be let through.
    pub(crate) challenge: Option<&'static str>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into(), retry_after: None, close: false, challenge: None }
    }

    pub(crate) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// A field of the request has an invalid value.
    pub(crate) fn invalid(field: &str, error: weft_values::Invalid) -> Self {
        Self::bad_request(format!("{field}: {error}"))
    }

    pub(crate) fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(crate) fn unavailable(message: impl Into<Cow<'static, str>>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, message) }
    }

    /// Nobody is signed in.
    pub(crate) fn unauthorized(message: impl Into<Cow<'static, str>>) -> Self {
        Self { challenge: Some("Bearer"), ..Self::new(StatusCode::UNAUTHORIZED, message) }
    }

    /// A token was brought, and is none (RFC 6750).
    pub(crate) fn invalid_token(message: impl Into<Cow<'static, str>>) -> Self {
        Self { challenge: Some("Bearer error=\"invalid_token\""), ..Self::unauthorized(message) }
    }

    pub(crate) fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    pub(crate) fn after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// In the form of a path: problem details (RFC 9457) below `/v1`, else the envelope.
    pub(crate) fn in_form_of(self, path: &str) -> Response {
        if path.starts_with("/v1/") { Problem(self).into_response() } else { self.into_response() }
    }

    fn with_headers(&self, mut response: Response) -> Response {
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after {
            // Rounded up: a second too early would be refused again.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(challenge) = self.challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let message = self.message.clone();
        let envelope = Envelope { error: true, message, trace_id: trace::current_trace_id() };
        self.with_headers(Json(envelope).into_response())
    }
}

/// An error as `/v1` answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem(pub(crate) ApiError);

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

/// Problem details (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct ProblemDetails {
    #[schema(value_type = String)]
    r#type: &'static str,
    /// The status in words.
    #[schema(value_type = String)]
    title: &'static str,
    /// The reply's status.
    status: u16,
    /// For a person.
    #[schema(value_type = String)]
    detail: Cow<'static, str>,
    /// The trace that says more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, pattern = "^[0-9a-f]{32}$")]
    trace_id: Option<String>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(error) = self;
        let body = Json(ProblemDetails {
            r#type: "about:blank",
            title: error.status.canonical_reason().unwrap_or("Error"),
            status: error.status.as_u16(),
            detail: error.message.clone(),
            trace_id: trace::current_trace_id(),
        });
        let mut response = error.with_headers(body.into_response());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_wait_is_rounded_up_to_whole_seconds() {
        let header = |millis| {
            let error = ApiError::unavailable("x", Duration::from_millis(millis));
            error.into_response().headers()[RETRY_AFTER].to_str().unwrap().to_owned()
        };
        assert_eq!((header(0), header(1_000), header(1_001)), ("1".into(), "1".into(), "2".into()));
    }

    #[test]
    fn the_path_decides_the_form() {
        let form = |path: &str| ApiError::not_found("x").in_form_of(path).headers()[CONTENT_TYPE].clone();
        assert_eq!(form("/v1/nothing"), "application/problem+json");
        assert_eq!(form("/handle"), "application/json");
    }

    #[test]
    fn a_401_says_what_would_be_let_through() {
        let challenge = |error: ApiError| Problem(error).into_response().headers()[WWW_AUTHENTICATE].clone();
        assert_eq!(challenge(ApiError::unauthorized("x")), "Bearer");
        assert_eq!(challenge(ApiError::invalid_token("x")), "Bearer error=\"invalid_token\"");
    }
}
