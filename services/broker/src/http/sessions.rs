//! `/v1/sessions`: the caller's open sessions.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;
use weft_proto::weft::auth::v1::{ListSessionsRequest, RevokeSessionRequest};

use crate::reply::{ApiError, Problem};
use crate::signed_in::SignedIn;
use crate::upstream::{self, AuthClient, on_behalf};
use crate::user::Session;

/// A user's open sessions, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Sessions {
    items: Vec<Session>,
}

/// The caller's open sessions, newest first.
#[utoipa::path(get, path = "/v1/sessions", operation_id = "list_sessions", tag = "session",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The sessions", body = Sessions),
    ))]
pub(super) async fn list(
    State(mut authentication): State<AuthClient>,
    SignedIn(caller): SignedIn,
) -> Result<Json<Sessions>, Problem> {
    let call = on_behalf(&caller, ListSessionsRequest {})?;
    let reply = authentication.list_sessions(call).await;
    let sessions = reply.map_err(|status| upstream::authentication(&status))?.into_inner().sessions;
    let items = sessions.into_iter().map(Session::try_from).collect::<Result<_, ApiError>>()?;
    Ok(Json(Sessions { items }))
}

/// Ends one of the caller's own sessions.
#[utoipa::path(delete, path = "/v1/sessions/{id}", operation_id = "end_session", tag = "session",
    params(("id" = Uuid, Path, description = "The session's id")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The session has ended"),
        (status = 400, description = "The id is invalid"),
        (status = 404, description = "The caller has no such session"),
    ))]
pub(super) async fn end(
    State(mut authentication): State<AuthClient>,
    SignedIn(caller): SignedIn,
    id: Result<Path<Uuid>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let session_id = uuid("session", id)?.to_string();
    let call = on_behalf(&caller, RevokeSessionRequest { session_id })?;
    let reply = authentication.revoke_session(call).await;
    reply.map_err(|status| upstream::authentication(&status))?;
    Ok(StatusCode::NO_CONTENT)
}

/// The UUID in a path.
pub(super) fn uuid(what: &str, id: Result<Path<Uuid>, PathRejection>) -> Result<Uuid, ApiError> {
    let invalid = || ApiError::bad_request(format!("invalid {what} id in the path: expected a UUID"));
    id.map(|Path(id)| id).map_err(|_| invalid())
}
