//! `/v1/users/me`: the signed-in user.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use weft_proto::weft::auth::v1::{ChangePasswordRequest, GetUserRequest};

use super::sign_in::check_password;
use super::users::check_new_password;
use crate::body::{self, Rest};
use crate::reply::Problem;
use crate::signed_in::SignedIn;
use crate::upstream::{self, AuthClient, on_behalf};
use crate::user::User;

/// The current and the new password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with current_password and new_password")]
pub(super) struct ChangePassword {
    #[schema(min_length = 1, max_length = 1024)]
    current_password: String,
    /// Not a commonly used password. Its length is counted in NFC.
    #[schema(min_length = 15, max_length = 256, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    new_password: String,
    #[serde(flatten)]
    #[schema(ignore)]
    _rest: Rest,
}

/// The signed-in user.
#[utoipa::path(get, path = "/v1/users/me", operation_id = "get_me", tag = "users",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The signed-in user", body = User),
    ))]
pub(super) async fn get(
    State(mut authentication): State<AuthClient>,
    SignedIn(caller): SignedIn,
) -> Result<Json<User>, Problem> {
    let reply = authentication.get_user(on_behalf(&caller, GetUserRequest {})?).await;
    let user = reply.map_err(|status| upstream::authentication(&status))?.into_inner().user;
    Ok(Json(user.try_into()?))
}

/// Changes the caller's password and ends all other sessions.
#[utoipa::path(post, path = "/v1/users/me/password", operation_id = "change_password", tag = "users",
    request_body = ChangePassword,
    security(("bearer" = [])),
    responses(
        (status = 204, description = "Changed; all other sessions have ended"),
        (status = 400, description = "The body is invalid, or the new password is too weak"),
        (status = 403, description = "The current password is wrong, or a page of another origin sent it"),
    ))]
pub(super) async fn change_password(
    State(mut authentication): State<AuthClient>,
    SignedIn(caller): SignedIn,
    request: Request<Body>,
) -> Result<StatusCode, Problem> {
    let ChangePassword { current_password, new_password, _rest } = body::json(request).await?;
    check_password("current_password", &current_password)?;
    check_new_password("new_password", &new_password)?;
    let call = on_behalf(&caller, ChangePasswordRequest { current_password, new_password })?;
    let reply = authentication.change_password(call).await;
    reply.map_err(|status| upstream::authentication(&status))?;
    Ok(StatusCode::NO_CONTENT)
}
