//! `POST /log-grpc`: kept for clients of the original. Works as action `log` of `POST /handle`, with the original's reply.

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::Response;

use super::handle::{LogAction, Payload, missing_log_entry, store_log};
use crate::app::App;
use crate::client::Client;
use crate::open::Action;
use crate::quotas::Writer;
use crate::reply::{ApiError, Envelope, success};
use crate::{body, idempotency, signed_in};

/// Stores a log entry, as `POST /handle` does.
#[utoipa::path(post, path = "/log-grpc", operation_id = "log_grpc", tag = "broker",
    params(idempotency::Header),
    request_body = LogAction,
    security((), ("bearer" = [])),
    responses(
        (status = 202, description = "`logged`: the logger has stored it", body = Envelope),
        (status = 400, description = "The body is invalid"),
        (status = 401, description = "Not signed in, and the Stack has not opened `log`; or the access token is invalid"),
        (status = 403, description = "A page of another origin sent it"),
        (status = 422, description = "The idempotency key of a signed-in user was used before with other content"),
        (status = 502, description = "The logger failed"),
        (status = 503, description = "The logger can't be reached in time"),
    ))]
pub(super) async fn post(
    State(app): State<App>,
    client: Client,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let key = idempotency::key(request.headers())?;
    let (parts, body) = request.into_parts();
    let (payload, size): (Payload, _) = body::read_json(&parts.headers, body).await?;
    if payload.action != "log" {
        return Err(ApiError::bad_request(format!(
            "unknown action \"{:.64}\"; expected log",
            payload.action
        )));
    }
    let caller = signed_in::require(&app, &parts.headers, Action::Log).await?;
    let log = payload.log.ok_or_else(|| missing_log_entry("log"))?;
    let writer = Writer { caller: caller.as_ref(), address: client.address };
    app.quotas.open_write(writer, size, store_log(&app, caller.as_ref(), key, log)).await?;
    Ok(success(StatusCode::ACCEPTED, "logged"))
}
