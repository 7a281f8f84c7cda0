//! `GET /.well-known/jwks.json`: the keys that access tokens are signed with.

use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse as _, Response};
use utoipa::ToSchema;

use crate::app::App;
use crate::reply::{ApiError, Problem};
use crate::token;
use crate::upstream;

/// A JSON Web Key Set (RFC 7517).
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what authentication's text holds")]
pub(super) struct KeySet {
    keys: Vec<Key>,
}

/// The public half of an Ed25519 key (RFC 8037).
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes what authentication's text holds")]
struct Key {
    kty: String,
    crv: String,
    kid: String,
    x: String,
}

/// The public keys of access tokens, for whoever wants to check them too.
#[utoipa::path(get, path = "/.well-known/jwks.json", operation_id = "get_signing_keys", tag = "session",
    responses(
        (status = 200, description = "The keys", body = KeySet),
        (status = 502, description = "Authentication failed"),
        (status = 503, description = "Authentication can't be reached in time"),
    ))]
pub(super) async fn get(State(app): State<App>) -> Result<Response, Problem> {
    let keys = app.keys.any().await.ok_or_else(|| {
        ApiError::unavailable("authentication can't be reached in time; try again", upstream::RETRY_AFTER)
    })?;
    let public = token::public(keys.json()).map_err(|_| upstream::nonsense("authentication", "jwks"))?;
    Ok(([(CACHE_CONTROL, "public, max-age=300")], Json(public)).into_response())
}
