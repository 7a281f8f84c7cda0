//! `POST /v1/signing-keys/rotate`: replaces the signing key, for admins.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use weft_proto::weft::auth::v1::RotateSigningKeysRequest;

use crate::body::{self, Rest};
use crate::keys::Keys;
use crate::reply::Problem;
use crate::signed_in::Admin;
use crate::upstream::{self, AuthClient, on_behalf};
use crate::user::time;

/// What to do with the previous keys.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with revoke, or no body")]
pub(super) struct Rotate {
    /// Revoke them: every broker rejects their tokens within 30 seconds. Otherwise they stay published until their last token has
    /// expired.
    #[serde(default)]
    revoke: bool,
    #[serde(flatten)]
    #[schema(ignore)]
    _rest: Rest,
}

/// The new signing key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SigningKey {
    /// The key's `kid`.
    key_id: Uuid,
    /// When tokens are first signed with the key.
    #[schema(value_type = String, format = DateTime)]
    signs_from: Timestamp,
}

/// Creates a new key to sign access tokens with, in place of the current one. No session ends.
#[utoipa::path(post, path = "/v1/signing-keys/rotate", operation_id = "rotate_signing_keys", tag = "session",
    request_body(content = Option<Rotate>, description = "Optional"),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The new key", body = SigningKey),
        (status = 400, description = "The body is invalid"),
        (status = 403, description = "The caller is not an admin, or a page of another origin sent it"),
    ))]
pub(super) async fn rotate(
    State(keys): State<Arc<Keys>>,
    State(mut authentication): State<AuthClient>,
    Admin(caller): Admin,
    request: Request<Body>,
) -> Result<Json<SigningKey>, Problem> {
    let (parts, body) = request.into_parts();
    let Rotate { revoke, _rest } = body::read_optional_json(&parts.headers, body).await?;
    let call = on_behalf(&caller, RotateSigningKeysRequest { revoke })?;
    let reply = authentication.rotate_signing_keys(call).await;
    let key = reply.map_err(|status| upstream::authentication(&status))?.into_inner();
    keys.renew().await;
    let key_id = key.key_id.parse().map_err(|_| upstream::invalid_reply("authentication", "key_id"))?;
    Ok(Json(SigningKey { key_id, signs_from: time(key.signs_from, "signs_from")? }))
}
