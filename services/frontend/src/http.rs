//! The routes.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::ALLOW;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;

use crate::assets::Assets;
use crate::config::Config;
use crate::headers::SecurityHeaders;
use crate::metrics::{self, RequestMetrics};
use crate::pages::{Pages, View};
use crate::resource::Caching;

/// Everything that the routes serve.
#[derive(Debug)]
pub(crate) struct Site {
    assets: Assets,
    pages: Pages,
    headers: SecurityHeaders,
}

impl Site {
    pub(crate) fn new(config: &Config, assets: Assets, pages: Pages) -> Arc<Self> {
        Arc::new(Self { assets, pages, headers: SecurityHeaders::new(config.broker.as_ref()) })
    }

    fn not_found(&self, request: &HeaderMap) -> Response {
        self.pages.not_found.reply(request, StatusCode::NOT_FOUND, Caching::Never)
    }
}

/// Builds the router. GET handlers also answer HEAD, without the body.
pub(crate) fn router(site: Arc<Site>, requests: RequestMetrics) -> Router {
    let view = |view| {
        get(async move |State(site): State<Arc<Site>>, headers: HeaderMap| {
            site.pages.view(view).reply(&headers, StatusCode::OK, Caching::Revalidate)
        })
    };
    Router::new()
        .route("/", view(View::Send))
        .route("/logs", view(View::Logs))
        .route("/trace", view(View::Trace))
        .route("/trace/{id}", get(trace))
        .route("/dead-letters", view(View::DeadLetters))
        .route("/account", view(View::Account))
        .route("/account/forgot-password", view(View::ForgotPassword))
        .route("/account/reset-password", view(View::ResetPassword))
        .route("/assets/{version}/{name}", get(asset))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(unknown_path)
        .layer(middleware::from_fn_with_state(site.clone(), secure))
        .layer(middleware::from_fn_with_state(requests, metrics::measure))
        .with_state(site)
}

/// The page of one trace; 404 for an invalid trace id.
async fn trace(
    State(site): State<Arc<Site>>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let hex = |id: &str| id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match id {
        Ok(Path(id)) if hex(&id) => {
            site.pages.view(View::Trace).reply(&headers, StatusCode::OK, Caching::Revalidate)
        }
        _ => site.not_found(&headers),
    }
}

/// A file. During a rollout a page of one version may request files from a replica of another version. That replica sends its own
/// file, not to be cached.
async fn asset(
    State(site): State<Arc<Site>>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Response {
    let Ok(Path((version, name))) = path else { return site.not_found(&headers) };
    let caching = if version == site.assets.version() { Caching::Forever } else { Caching::Never };
    match site.assets.get(&name) {
        Some(file) => file.reply(&headers, StatusCode::OK, caching),
        None => site.not_found(&headers),
    }
}

async fn method_not_allowed(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    let page = &site.pages.method_not_allowed;
    let mut reply = page.reply(&headers, StatusCode::METHOD_NOT_ALLOWED, Caching::Never);
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    reply
}

async fn unknown_path(State(site): State<Arc<Site>>, headers: HeaderMap) -> Response {
    site.not_found(&headers)
}

async fn secure(State(site): State<Arc<Site>>, request: Request<Body>, next: Next) -> Response {
    let mut reply = next.run(request).await;
    site.headers.write(reply.headers_mut());
    reply
}
