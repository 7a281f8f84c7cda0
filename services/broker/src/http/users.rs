//! `/v1/users`: manages users, for admins.

pub(super) mod changes;

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{Request, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use tonic::{Code, Status};
use utoipa::ToSchema;
use uuid::Uuid;
use weft_proto::weft::auth::v1::{CreateUserRequest, DeactivateUserRequest, ListUsersRequest};
use weft_runtime::clock::Clock;
use weft_values::key::Operation;
use weft_values::{password, text};

use super::sessions::uuid;
use super::{query, read_limit};
use crate::body::{self, Rest};
use crate::idempotency;
use crate::mail::{self, check_address};
use crate::reply::{ApiError, Problem};
use crate::signed_in::Admin;
use crate::upstream::{self, AuthClient, on_behalf};
use crate::user::{Role, User};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Paging {
    limit: Option<String>,
    cursor: Option<String>,
}

/// Users, ordered by email.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Users {
    items: Vec<User>,
    /// Null on the last page.
    #[schema(required = true)]
    next_cursor: Option<String>,
}

/// A user to create.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with email, first_name, last_name, password and role")]
pub(super) struct NewUser {
    #[schema(schema_with = mail::address_schema)]
    email: String,
    #[serde(default)]
    #[schema(max_length = 128, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]*$")]
    first_name: String,
    #[serde(default)]
    #[schema(max_length = 128, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]*$")]
    last_name: String,
    /// Not a commonly used password. Its length is counted in NFC.
    #[schema(min_length = 15, max_length = 256, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]*$")]
    password: String,
    #[serde(default)]
    role: Role,
    #[serde(flatten)]
    #[schema(ignore)]
    _rest: Rest,
}

/// All users, ordered by email.
#[utoipa::path(get, path = "/v1/users", operation_id = "list_users", tag = "users",
    params(
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, nullable = false, description = "Default: 100"),
        ("cursor" = Option<String>, Query, nullable = false, description = "`next_cursor` of the previous page"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page", body = Users),
        (status = 400, description = "A field of the query is invalid"),
        (status = 403, description = "The caller is not an admin"),
    ))]
pub(super) async fn list(
    State(mut authentication): State<AuthClient>,
    Admin(caller): Admin,
    uri: Uri,
) -> Result<Json<Users>, Problem> {
    let Paging { limit, cursor } = query(&uri)?;
    let limit = limit.as_deref().map(read_limit).transpose()?.unwrap_or_default();
    let call = on_behalf(&caller, ListUsersRequest { limit, cursor: cursor.unwrap_or_default() })?;
    let reply = authentication.list_users(call).await;
    let page = reply.map_err(|status| upstream::authentication(&status))?.into_inner();
    let items = page.users.into_iter().map(|user| Some(user).try_into()).collect::<Result<_, ApiError>>()?;
    Ok(Json(Users { items, next_cursor: Some(page.next_cursor).filter(|cursor| !cursor.is_empty()) }))
}

/// Creates a user. A repeat with the same `Idempotency-Key` and the same content gets the same reply, also after the user was changed.
#[utoipa::path(post, path = "/v1/users", operation_id = "create_user", tag = "users",
    params(idempotency::Header),
    request_body = NewUser,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The user", body = User),
        (status = 400, description = "The body is invalid, or the password is too weak"),
        (status = 403, description = "The caller is not an admin, or a page of another origin sent it"),
        (status = 409, description = "Another user has this email, or the user that was created with this idempotency key was deleted"),
        (status = 422, description = "The idempotency key was used before with other content"),
    ))]
pub(super) async fn create(
    State(clock): State<Arc<dyn Clock>>,
    State(mut authentication): State<AuthClient>,
    Admin(caller): Admin,
    request: Request<Body>,
) -> Result<(StatusCode, Json<User>), Problem> {
    let key = idempotency::key(request.headers())?;
    let id = idempotency::id(&*clock, &caller, Operation::Users, key.as_ref()).to_string();
    let NewUser { email, first_name, last_name, password, role, _rest } = body::json(request).await?;
    check_address("email", &email)?;
    check_personal_name("first_name", &first_name)?;
    check_personal_name("last_name", &last_name)?;
    check_new_password("password", &password)?;
    let role = weft_proto::weft::auth::v1::Role::from(role).into();
    let user = CreateUserRequest { id, email, first_name, last_name, password, role };
    let reply = authentication.create_user(on_behalf(&caller, user)?).await;
    let user = reply.map_err(|status| not_created(&status))?.into_inner().user;
    Ok((StatusCode::CREATED, Json(user.try_into()?)))
}

fn not_created(status: &Status) -> ApiError {
    match status.code() {
        // The user with this id was created with other content, or was deleted. Only an idempotency key makes the same id twice.
        Code::FailedPrecondition => idempotency::conflict(),
        Code::NotFound => ApiError::new(
            StatusCode::CONFLICT,
            "Idempotency-Key: the user that was created with this key was deleted; use a new key for a new user",
        ),
        _ => upstream::authentication(status),
    }
}

/// Deactivates a user: ends all of their sessions and refuses further sign-ins.
#[utoipa::path(post, path = "/v1/users/{id}/deactivate", operation_id = "deactivate_user", tag = "users",
    params(("id" = Uuid, Path, description = "The user's id")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The user, no longer active", body = User),
        (status = 400, description = "The id is invalid"),
        (status = 403, description = "The caller is not an admin, or a page of another origin sent it"),
        (status = 404, description = "User not found"),
        (status = 409, description = "The user is the last active admin"),
    ))]
pub(super) async fn deactivate(
    State(mut authentication): State<AuthClient>,
    Admin(caller): Admin,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<Json<User>, Problem> {
    let user_id = uuid("user", id)?.to_string();
    let reply = authentication.deactivate_user(on_behalf(&caller, DeactivateUserRequest { user_id })?).await;
    let user = reply.map_err(|status| upstream::authentication(&status))?.into_inner().user;
    Ok(Json(user.try_into()?))
}

/// Checks the rules that do not need the list of common passwords, which only authentication has.
pub(super) fn check_new_password(field: &str, password: &str) -> Result<(), ApiError> {
    password::check_new(password).map_err(|error| ApiError::invalid(field, error))
}

fn check_personal_name(field: &str, name: &str) -> Result<(), ApiError> {
    text::person_name(name).map_err(|error| ApiError::invalid(field, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_passwords_of_15_to_256_characters_in_any_script() {
        assert_eq!(check_new_password("p", &"ü".repeat(15)), Ok(()));
        assert_eq!(check_new_password("p", &"用".repeat(256)), Ok(()));
        let short = check_new_password("p", &"x".repeat(14)).unwrap_err().message;
        assert!(short.starts_with("p: ") && short.contains("fewer than 15"), "{short}");
        assert!(check_new_password("p", &"x".repeat(257)).is_err());
    }

    #[test]
    fn rejects_names_with_line_breaks_or_over_128_characters() {
        assert_eq!(check_personal_name("first_name", "Zoë"), Ok(()));
        assert!(check_personal_name("first_name", "a\r\nb").is_err());
        assert!(check_personal_name("first_name", &"x".repeat(129)).is_err());
    }
}
