//! The HTTP routes, one file each.

mod dead_letters;
mod events;
#[cfg(test)]
mod fuzz;
mod handle;
mod jwks;
mod log_grpc;
mod logout;
mod logs;
mod me;
mod parts;
mod passwords;
mod root;
mod routed;
mod session;
mod sessions;
mod sign_in;
mod signing_keys;
mod traces;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Query;
use axum::handler::Handler as _;
use axum::http::{Method, Request, StatusCode, Uri};
use axum::middleware;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde::de::DeserializeOwned;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) use self::parts::Parts;
use self::parts::Shared;
use crate::edge::{self, Edge};
use crate::openapi;
use crate::reply::ApiError;
use crate::routes::Routes;

/// All routes of the broker.
pub(crate) fn router(parts: Parts, routes: &Routes, edge: Arc<Edge>) -> Router {
    let description = openapi::Document::new(described().into_openapi());
    let observed = middleware::from_fn_with_state(edge, edge::observe);
    let heartbeat = get(root::ping).fallback(wrong_method.layer(observed.clone()));
    behind_the_edge()
        .split_for_parts()
        .0
        .route(openapi::PATH, get(async move || description.into_response()))
        .method_not_allowed_fallback(wrong_method)
        .merge(routed::router(routes))
        .fallback(unknown_path)
        .with_state(Shared(Arc::new(parts)))
        .layer(observed)
        .merge(Router::new().route(openapi::PING, heartbeat))
}

/// The routes with their descriptions.
pub(crate) fn described() -> OpenApiRouter<Shared> {
    behind_the_edge().routes(routes!(root::ping))
}

fn behind_the_edge() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(root::hit))
        .routes(routes!(handle::post))
        .routes(routes!(log_grpc::post))
        .routes(routes!(logout::post))
        .routes(routes!(session::refresh))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::end))
        .routes(routes!(me::get))
        .routes(routes!(me::change_password))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::deactivate))
        .routes(routes!(users::changes::update, users::changes::delete))
        .routes(routes!(users::changes::reactivate))
        .routes(routes!(users::changes::start_reset))
        .routes(routes!(passwords::forgot))
        .routes(routes!(passwords::reset))
        .routes(routes!(events::post))
        .routes(routes!(logs::get))
        .routes(routes!(traces::get))
        .routes(routes!(dead_letters::by_filter::list, dead_letters::by_filter::discard))
        .routes(routes!(dead_letters::by_filter::replay))
        .routes(routes!(dead_letters::show, dead_letters::discard))
        .routes(routes!(dead_letters::replay))
        .routes(routes!(jwks::get))
        .routes(routes!(signing_keys::rotate))
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    let message = format!("method {method} not allowed for {}; allowed: see the header Allow", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message).in_format_of(uri.path())
}

async fn unknown_path(request: Request<Body>) -> Response {
    let path = request.uri().path();
    ApiError::not_found(format!("path not found: {path}")).in_format_of(path)
}

/// Parses the query string into a `T`.
///
/// # Errors
/// 400 when the query is not UTF-8, or a field is unknown, repeated or invalid.
fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    check_utf8(uri.query().unwrap_or_default())?;
    let Query(fields) = Query::try_from_uri(uri).map_err(|error| ApiError::bad_request(error.body_text()))?;
    Ok(fields)
}

/// Rejects invalid UTF-8. Decoding would replace it with U+FFFD and search for a text that the client did not send.
fn check_utf8(query: &str) -> Result<(), ApiError> {
    match percent_encoding::percent_decode_str(query).decode_utf8() {
        Ok(_) => Ok(()),
        Err(_) => Err(ApiError::bad_request("invalid query: not UTF-8 after percent-decoding")),
    }
}

/// Parses the size of a page.
///
/// # Errors
/// 400 when the value is not a whole number from 1 to 1,000.
fn read_limit(value: &str) -> Result<u32, ApiError> {
    value.parse().ok().filter(|limit| (1..=1_000).contains(limit)).ok_or_else(|| {
        ApiError::bad_request(format!(
            "limit: invalid value `{value}`: expected a whole number from 1 to 1000"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_a_query_that_is_not_utf_8() {
        assert!(check_utf8("text=%ff%fe").unwrap_err().message.contains("UTF-8"));
        assert_eq!(check_utf8("text=caf%C3%A9&limit=5"), Ok(()));
    }

    #[test]
    fn accepts_a_limit_from_1_to_1000() {
        assert_eq!(read_limit("1000"), Ok(1_000));
        for limit in ["0", "1001", "-1", "x", "1.5", ""] {
            assert!(read_limit(limit).unwrap_err().message.starts_with("limit: invalid value"));
        }
    }
}
