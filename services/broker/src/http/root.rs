//! `GET /ping` and `POST /`: whether the broker is there.

use axum::http::StatusCode;
use axum::response::Response;

use crate::reply::{Envelope, success};

/// Says that the broker is there, at the least cost.
#[utoipa::path(get, path = "/ping", tag = "broker", responses(
    (status = 200, description = "A dot", body = str, content_type = "text/plain; charset=utf-8"),
))]
pub(super) async fn ping() -> &'static str {
    "."
}

/// Says that the broker is there.
#[utoipa::path(post, path = "/", tag = "broker", responses(
    (status = 200, description = "`Hit the broker`", body = Envelope),
    (status = 403, description = "A page of another origin sent it"),
))]
pub(super) async fn hit() -> Response {
    success(StatusCode::OK, "Hit the broker")
}
