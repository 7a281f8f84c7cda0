//! `GET /.well-known/jwks.json`: public keys to verify access tokens with.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse as _, Response};
use utoipa::ToSchema;

use crate::keys::Keys;
use crate::reply::{ApiError, Problem};
use crate::token;
use crate::upstream;

/// A JSON Web Key Set (RFC 7517).
#[derive(ToSchema)]
#[expect(dead_code, reason = "only for the OpenAPI description; authentication sends JSON")]
pub(super) struct KeySet {
    keys: Vec<Key>,
}

/// The public half of an Ed25519 key (RFC 8037).
#[derive(ToSchema)]
#[expect(dead_code, reason = "only for the OpenAPI description; authentication sends JSON")]
struct Key {
    kty: String,
    crv: String,
    kid: String,
    x: String,
}

/// Public keys, for other services that verify access tokens.
#[utoipa::path(get, path = "/.well-known/jwks.json", operation_id = "get_signing_keys", tag = "session",
    responses(
        (status = 200, description = "The keys", body = KeySet),
    ))]
pub(super) async fn get(State(keys): State<Arc<Keys>>) -> Result<Response, Problem> {
    let keys = keys.any().await.ok_or_else(|| {
        ApiError::unavailable("authentication can't be reached in time; try again", upstream::RETRY_AFTER)
    })?;
    let public = token::public(keys.json()).map_err(|_| upstream::invalid_reply("authentication", "jwks"))?;
    Ok(([(CACHE_CONTROL, "public, max-age=60")], Json(public)).into_response())
}
