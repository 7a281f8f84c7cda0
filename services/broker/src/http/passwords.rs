//! `/v1/password`: resets a forgotten password.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use weft_proto::weft::auth::v1::{RequestPasswordResetRequest, ResetPasswordRequest};

use super::users::check_new_password;
use crate::body::{self, Rest};
use crate::client::Client;
use crate::mail::check_address;
use crate::reply::{ApiError, Problem};
use crate::upstream::{self, AuthClient};

/// Upper bound; issued tokens are shorter.
const MAX_TOKEN_CHARS: usize = 256;

/// The email address of the user who forgot the password.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with email")]
pub(super) struct Forgotten {
    #[schema(schema_with = crate::mail::address_schema)]
    email: String,
    #[serde(flatten)]
    #[schema(ignore)]
    _rest: Rest,
}

/// The token of a reset link, and the new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with token and new_password")]
pub(super) struct NewPassword {
    #[schema(min_length = 1, max_length = 256)]
    token: String,
    /// Not a commonly used password. Its length is counted in NFC.
    #[schema(min_length = 15, max_length = 256, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    new_password: String,
    #[serde(flatten)]
    #[schema(ignore)]
    _rest: Rest,
}

/// Sends a mail with a reset link if an active user has this address. The reply is the same for unknown addresses. The link can
/// be used once, within 30 minutes.
#[utoipa::path(post, path = "/v1/password/forgot", operation_id = "forgot_password", tag = "session",
    request_body = Forgotten,
    responses(
        (status = 202, description = "A mail is sent if an active user has this address"),
        (status = 400, description = "The body is invalid"),
        (status = 409, description = "`spec.console.url` is not set in the Stack"),
    ))]
pub(super) async fn forgot(
    State(mut authentication): State<AuthClient>,
    Extension(client): Extension<Client>,
    request: Request<Body>,
) -> Result<StatusCode, Problem> {
    let Forgotten { email, _rest } = body::json(request).await?;
    check_address("email", &email)?;
    let request = RequestPasswordResetRequest { email, client_address: client.address.to_string() };
    let reply = authentication.request_password_reset(request).await;
    reply.map_err(|status| upstream::authentication(&status))?;
    Ok(StatusCode::ACCEPTED)
}

/// Sets a new password with the token of a reset link, and ends all sessions of the user. A request whose reply was lost may be
/// repeated with the same password.
#[utoipa::path(post, path = "/v1/password/reset", operation_id = "reset_password", tag = "session",
    request_body = NewPassword,
    responses(
        (status = 204, description = "Changed; all sessions have ended"),
        (status = 400, description = "The body is invalid, or the new password is too weak"),
        (status = 404, description = "The token is unknown, was used or has expired"),
    ))]
pub(super) async fn reset(
    State(mut authentication): State<AuthClient>,
    request: Request<Body>,
) -> Result<StatusCode, Problem> {
    let NewPassword { token, new_password, _rest } = body::json(request).await?;
    if !(1..=MAX_TOKEN_CHARS).contains(&token.chars().count()) {
        return Err(ApiError::bad_request("token: invalid length; expected 1 to 256 characters").into());
    }
    check_new_password("new_password", &new_password)?;
    let reply = authentication.reset_password(ResetPasswordRequest { token, new_password }).await;
    reply.map_err(|status| upstream::authentication(&status))?;
    Ok(StatusCode::NO_CONTENT)
}
