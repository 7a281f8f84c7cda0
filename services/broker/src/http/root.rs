//! `GET /ping` and `POST /`: whether the broker is there.

use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{AppendHeaders, Response};

use crate::edge::SAFE;
use crate::reply::{Envelope, success};

/// Says that the broker is there, at the least cost: it is no trace, in no metric, and counts against no limit. What asks for
/// it, asks often.
#[utoipa::path(get, path = "/ping", tag = "broker", responses(
    (status = 200, description = "A dot", body = str, content_type = "text/plain; charset=utf-8"),
))]
pub(super) async fn ping() -> (AppendHeaders<[(HeaderName, HeaderValue); SAFE.len()]>, &'static str) {
    (AppendHeaders(SAFE.clone()), ".")
}

/// Says that the broker is there.
#[utoipa::path(post, path = "/", tag = "broker", responses(
    (status = 200, description = "`Hit the broker`", body = Envelope),
    (status = 403, description = "A page of another origin sent it"),
))]
pub(super) async fn hit() -> Response {
    success(StatusCode::OK, "Hit the broker")
}
