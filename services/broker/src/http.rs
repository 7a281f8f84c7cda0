//! The routes, one file each.

pub(crate) mod handle;
mod log_grpc;
mod logs;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode, Uri};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};

use crate::app::App;
use crate::edge::{self, Edge};
use crate::reply::{ApiError, success};

/// Every route of the broker.
pub(crate) fn router(app: App, edge: Arc<Edge>) -> Router {
    Router::new()
        .route("/ping", get(async || "."))
        .route("/", post(hit))
        .route("/handle", post(handle::post))
        .route("/log-grpc", post(log_grpc::post))
        .route("/v1/logs", get(logs::get))
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
        .with_state(app)
        .layer(middleware::from_fn_with_state(edge, edge::observe))
}

/// Says that the broker is there.
async fn hit() -> Response {
    success(StatusCode::OK, "Hit the broker")
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let message = format!("{method} is not a method of {}", uri.path());
    in_form_of(&uri, ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message))
}

async fn unknown_path(request: Request<Body>) -> Response {
    let message = format!("there is nothing at {}", request.uri().path());
    in_form_of(request.uri(), ApiError::new(StatusCode::NOT_FOUND, message))
}

/// Problem details below `/v1`, else the envelope.
fn in_form_of(uri: &Uri, error: ApiError) -> Response {
    if uri.path().starts_with("/v1/") { error.problem() } else { error.into_response() }
}
