//! Formats of replies: the envelope of the Go course, and problem details for `/v1`.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use weft_runtime::trace;

/// The envelope of the Go course.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Envelope {
    error: bool,
    /// For a human reader.
    #[schema(value_type = String)]
    message: Cow<'static, str>,
    /// Only in errors: the request's trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, pattern = "^[0-9a-f]{32}$")]
    trace_id: Option<String>,
}

/// The envelope with data.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DataEnvelope<T> {
    error: bool,
    /// For a human reader.
    #[schema(value_type = String)]
    message: Cow<'static, str>,
    data: T,
}

/// A successful reply in the envelope.
pub(crate) fn success(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Response {
    (status, Json(Envelope { error: false, message: message.into(), trace_id: None })).into_response()
}

/// A successful reply in the envelope, with data.
pub(crate) fn success_with<T: Serialize>(
    status: StatusCode,
    message: impl Into<Cow<'static, str>>,
    data: T,
) -> Response {
    (status, Json(DataEnvelope { error: false, message: message.into(), data })).into_response()
}

/// An error, not yet in the format of its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    pub(crate) message: Cow<'static, str>,
    pub(crate) retry_after: Option<Duration>,
    /// Close the connection: the rest of the request was not read, so the connection can't serve another one.
    pub(crate) close: bool,
    /// Value of `WWW-Authenticate`: the credentials that are expected.
    pub(crate) challenge: Option<&'static str>,
    /// What was to be stored may have been stored.
    pub(crate) uncertain: bool,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            message: message.into(),
            retry_after: None,
            close: false,
            challenge: None,
            uncertain: false,
        }
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

    /// The request has no credentials.
    pub(crate) fn unauthorized(message: impl Into<Cow<'static, str>>) -> Self {
        Self { challenge: Some("Bearer"), ..Self::new(StatusCode::UNAUTHORIZED, message) }
    }

    /// The request's access token is invalid (RFC 6750).
    pub(crate) fn invalid_token(message: impl Into<Cow<'static, str>>) -> Self {
        Self { challenge: Some("Bearer error=\"invalid_token\""), ..Self::unauthorized(message) }
    }

    pub(crate) fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    pub(crate) fn uncertain(self) -> Self {
        Self { uncertain: true, ..self }
    }

    pub(crate) fn after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// Converts to the format of a path: problem details (RFC 9457) below `/v1`, otherwise the envelope.
    pub(crate) fn in_format_of(self, path: &str) -> Response {
        if path.starts_with("/v1/") { Problem(self).into_response() } else { self.into_response() }
    }

    fn with_headers(&self, mut response: Response) -> Response {
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(after) = self.retry_after {
            // Rounded up: a request that comes too early would be refused again.
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

/// An error in the format of `/v1`.
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
    /// The status's reason phrase.
    #[schema(value_type = String)]
    title: &'static str,
    /// The status of the reply.
    status: u16,
    /// For a human reader.
    #[schema(value_type = String)]
    detail: Cow<'static, str>,
    /// The request's trace.
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
    fn rounds_retry_after_up_to_whole_seconds() {
        let header = |millis| {
            let error = ApiError::unavailable("x", Duration::from_millis(millis));
            error.into_response().headers()[RETRY_AFTER].to_str().unwrap().to_owned()
        };
        assert_eq!((header(0), header(1_000), header(1_001)), ("1".into(), "1".into(), "2".into()));
    }

    #[test]
    fn the_path_decides_the_format() {
        let format = |path: &str| ApiError::not_found("x").in_format_of(path).headers()[CONTENT_TYPE].clone();
        assert_eq!(format("/v1/nothing"), "application/problem+json");
        assert_eq!(format("/handle"), "application/json");
    }

    #[test]
    fn a_401_names_the_expected_credentials() {
        let challenge = |error: ApiError| Problem(error).into_response().headers()[WWW_AUTHENTICATE].clone();
        assert_eq!(challenge(ApiError::unauthorized("x")), "Bearer");
        assert_eq!(challenge(ApiError::invalid_token("x")), "Bearer error=\"invalid_token\"");
    }
}
