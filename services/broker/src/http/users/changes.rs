//! What an admin may do to a user: change role and name, reactivate, delete, start a password reset.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode};
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;
use weft_proto::weft::auth::v1::{
    self as proto, DeleteUserRequest, ReactivateUserRequest, StartPasswordResetRequest, UpdateUserRequest,
};

use super::check_personal_name;
use crate::body::{self, Rest};
use crate::http::sessions::uuid;
use crate::reply::Problem;
use crate::signed_in::Admin;
use crate::upstream::{self, AuthClient, on_behalf};
use crate::user::{Role, User};

/// The fields to change; fields that are omitted or null stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with role, first_name and last_name")]
pub(in crate::http) struct UserChange {
    role: Option<Role>,
    #[schema(max_length = 128, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]*$")]
    first_name: Option<String>,
    #[schema(max_length = 128, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]*$")]
    last_name: Option<String>,
    #[serde(flatten)]
    #[schema(ignore)]
    _rest: Rest,
}

/// Changes a user's role and name. A role that is removed takes effect at the user's next change, and for reads within 30 s.
#[utoipa::path(patch, path = "/v1/users/{id}", operation_id = "update_user", tag = "users",
    params(("id" = Uuid, Path, description = "The user's id")),
    request_body = UserChange,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The user", body = User),
        (status = 400, description = "The id or the body is invalid"),
        (status = 403, description = "The caller is not an admin, or a page of another origin sent it"),
        (status = 404, description = "User not found"),
        (status = 409, description = "The user is the last active admin"),
    ))]
pub(in crate::http) async fn update(
    State(mut authentication): State<AuthClient>,
    Admin(caller): Admin,
    id: Result<Path<Uuid>, PathRejection>,
    request: Request<Body>,
) -> Result<Json<User>, Problem> {
    let user_id = uuid("user", id)?.to_string();
    let UserChange { role, first_name, last_name, _rest } = body::json(request).await?;
    for (field, name) in [("first_name", &first_name), ("last_name", &last_name)] {
        name.as_deref().map_or(Ok(()), |name| check_personal_name(field, name))?;
    }
    let role = role.map(|role| proto::Role::from(role).into());
    let call = on_behalf(&caller, UpdateUserRequest { user_id, role, first_name, last_name })?;
    let reply = authentication.update_user(call).await;
    let user = reply.map_err(|status| upstream::authentication(&status))?.into_inner().user;
    Ok(Json(user.try_into()?))
}

/// Lets a deactivated user sign in again.
#[utoipa::path(post, path = "/v1/users/{id}/reactivate", operation_id = "reactivate_user", tag = "users",
    params(("id" = Uuid, Path, description = "The user's id")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The user, now active", body = User),
        (status = 400, description = "The id is invalid"),
        (status = 403, description = "The caller is not an admin, or a page of another origin sent it"),
        (status = 404, description = "User not found"),
    ))]
pub(in crate::http) async fn reactivate(
    State(mut authentication): State<AuthClient>,
    Admin(caller): Admin,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<User>, Problem> {
    let user_id = uuid("user", id)?.to_string();
    let call = on_behalf(&caller, ReactivateUserRequest { user_id })?;
    let reply = authentication.reactivate_user(call).await;
    let user = reply.map_err(|status| upstream::authentication(&status))?.into_inner().user;
    Ok(Json(user.try_into()?))
}

/// Deletes a user with all of their sessions. Log entries stay until their retention ends.
#[utoipa::path(delete, path = "/v1/users/{id}", operation_id = "delete_user", tag = "users",
    params(("id" = Uuid, Path, description = "The user's id")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The user is deleted"),
        (status = 400, description = "The id is invalid"),
        (status = 403, description = "The caller is not an admin, or a page of another origin sent it"),
        (status = 404, description = "User not found"),
        (status = 409, description = "The user is the last active admin"),
    ))]
pub(in crate::http) async fn delete(
    State(mut authentication): State<AuthClient>,
    Admin(caller): Admin,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let user_id = uuid("user", id)?.to_string();
    let reply = authentication.delete_user(on_behalf(&caller, DeleteUserRequest { user_id })?).await;
    reply.map_err(|status| upstream::authentication(&status))?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a user a mail with a reset link. The link can be used once, within 30 minutes.
#[utoipa::path(post, path = "/v1/users/{id}/password-reset", operation_id = "start_password_reset", tag = "users",
    params(("id" = Uuid, Path, description = "The user's id")),
    security(("bearer" = [])),
    responses(
        (status = 202, description = "The mail will be sent"),
        (status = 400, description = "The id is invalid"),
        (status = 403, description = "The caller is not an admin, or a page of another origin sent it"),
        (status = 404, description = "User not found"),
        (status = 409, description = "The user is inactive, or `spec.console.url` is not set in the Stack"),
    ))]
pub(in crate::http) async fn start_reset(
    State(mut authentication): State<AuthClient>,
    Admin(caller): Admin,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let user_id = uuid("user", id)?.to_string();
    let call = on_behalf(&caller, StartPasswordResetRequest { user_id })?;
    let reply = authentication.start_password_reset(call).await;
    reply.map_err(|status| upstream::authentication(&status))?;
    Ok(StatusCode::ACCEPTED)
}
