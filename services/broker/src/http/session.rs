//! `POST /v1/session/refresh`: issues a new access token for the session in the cookie.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;
use weft_proto::weft::auth::v1::{RefreshRequest, RefreshResponse};
use weft_runtime::clock::Clock;

use crate::client::Client;
use crate::reply::{ApiError, Problem};
use crate::session::SessionCookie;
use crate::upstream::{self, AuthClient};
use crate::user::{AccessToken, Tokens, User};

/// The new access token, and its user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Refreshed {
    #[serde(flatten)]
    token: AccessToken,
    user: User,
}

/// Issues a new access token. The reply sets a new session cookie. A request whose reply was lost may be repeated with the same
/// cookie.
#[utoipa::path(post, path = "/v1/session/refresh", operation_id = "refresh_session", tag = "session",
    security(("session" = [])),
    responses(
        (status = 200, description = "The new access token", body = Refreshed,
            headers(("Set-Cookie" = String, description = "The new session cookie"))),
        (status = 401, description = "No session, or the session has ended; the cookie is deleted",
            headers(("Set-Cookie" = String, description = "Deletes the session cookie"))),
    ))]
pub(super) async fn refresh(
    State(clock): State<Arc<dyn Clock>>,
    State(cookies): State<Arc<SessionCookie>>,
    State(mut authentication): State<AuthClient>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
) -> Result<Response, Response> {
    let problem = |error: ApiError| Problem(error).into_response();
    let Some(refresh_token) = cookies.read(client, &headers) else {
        return Err(problem(ApiError::unauthorized("no session: sign in first")));
    };
    let reply = authentication.refresh(RefreshRequest { refresh_token }).await;
    let reply = reply.map_err(|status| {
        let error = upstream::credentials(&status, "the session has ended: sign in again");
        let ended = error.status == StatusCode::UNAUTHORIZED;
        let mut response = problem(error);
        if let Some(cookie) = cookies.clear(client).filter(|_| ended) {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        response
    })?;
    renewed(&*clock, &cookies, client, reply.into_inner()).map_err(problem)
}

fn renewed(
    clock: &dyn Clock,
    cookies: &SessionCookie,
    client: Client,
    reply: RefreshResponse,
) -> Result<Response, ApiError> {
    let tokens = Tokens::read(reply.tokens, clock.now())?;
    let cookie = cookies
        .set(client, &tokens.refresh, tokens.session_life)
        .ok_or_else(|| upstream::invalid_reply("authentication", "refresh_token"))?;
    let refreshed = Refreshed { token: tokens.access, user: reply.user.try_into()? };
    Ok(([(SET_COOKIE, cookie)], Json(refreshed)).into_response())
}
