//! `GET /ping` and `POST /`: health checks for clients.

use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{AppendHeaders, Response};

use crate::edge::SAFE;
use crate::reply::{Envelope, success};

/// Health check; not traced, counted or rate limited, because it is called often.
#[utoipa::path(get, path = "/ping", tag = "broker", responses(
    (status = 200, description = "The text `.`", body = str, content_type = "text/plain; charset=utf-8"),
))]
pub(super) async fn ping() -> (AppendHeaders<[(HeaderName, HeaderValue); SAFE.len()]>, &'static str) {
    (AppendHeaders(SAFE.clone()), ".")
}

/// The original's health check.
#[utoipa::path(post, path = "/", tag = "broker", responses(
    (status = 200, description = "`Hit the broker`", body = Envelope),
))]
pub(super) async fn hit() -> Response {
    success(StatusCode::OK, "Hit the broker")
}
