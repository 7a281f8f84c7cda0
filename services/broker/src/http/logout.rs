//! `POST /logout`: ends the current session, or all sessions of the user.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use tonic::Code;
use utoipa::ToSchema;
use weft_proto::weft::auth::v1::SignOutRequest;

use crate::body::{self, Rest};
use crate::client::Client;
use crate::reply::{ApiError, Envelope, success};
use crate::session::SessionCookie;
use crate::signed_in::Callers;
use crate::upstream::{self, AuthClient, on_behalf};

/// Which sessions to end.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object, or no body")]
pub(super) struct Logout {
    /// All sessions of the user, not only the current one.
    #[serde(default)]
    everywhere: bool,
    #[serde(flatten)]
    #[schema(ignore)]
    _rest: Rest,
}

/// Signs out by access token, or by the session cookie if the token has expired. `everywhere` requires an access token.
#[utoipa::path(post, path = "/logout", operation_id = "logout", tag = "session",
    request_body(content = Option<Logout>, description = "Optional"),
    security(("bearer" = [])),
    responses(
        (status = 202, description = "`Signed out`: the session has ended, and the user gets a mail", body = Envelope,
            headers(("Set-Cookie" = String, description = "Deletes the session cookie"))),
        (status = 400, description = "The body is invalid"),
        (status = 401, description = "Neither a valid access token nor a session; or `everywhere` without the access token \
            of an open session. No session was ended"),
    ))]
pub(super) async fn post(
    State(callers): State<Arc<Callers>>,
    State(cookies): State<Arc<SessionCookie>>,
    State(mut authentication): State<AuthClient>,
    Extension(client): Extension<Client>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let caller = callers.identify(&parts.headers).await;
    let cookie = cookies.read(client, &parts.headers);
    let call = match (caller, cookie) {
        (Ok(caller), _) => Ok(on_behalf(&caller, SignOutRequest::default())?),
        (Err(refused), Some(refresh_token)) => Err((refused, refresh_token)),
        (Err(refused), None) => return Err(refused),
    };
    let Logout { everywhere, _rest } = body::read_optional_json(&parts.headers, body).await?;
    let call = match call {
        Ok(call) => call.map(|request| SignOutRequest { everywhere, ..request }),
        Err((refused, _)) if everywhere => return Err(refused),
        Err((_, refresh_token)) => tonic::Request::new(SignOutRequest { refresh_token, everywhere: false }),
    };
    match authentication.sign_out(call).await {
        Ok(_) => {}
        // The session has already ended, so there is nothing to do. `everywhere` must fail: other sessions may still be open.
        Err(status) if status.code() == Code::Unauthenticated && !everywhere => {}
        Err(status) => return Err(upstream::authentication(&status)),
    }
    let mut response = success(StatusCode::ACCEPTED, "Signed out");
    if let Some(cookie) = cookies.clear(client) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}
