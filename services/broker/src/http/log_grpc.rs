//! `POST /log-grpc`: kept for clients of the original. Works as action `log` of `POST /handle`, with the original's reply.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use weft_runtime::clock::Clock;

use super::handle::{LogAction, Payload, missing_log_entry, store_log};
use crate::client::Client;
use crate::logger::Logger;
use crate::open::Action;
use crate::quotas::{Quotas, Writer};
use crate::reply::{ApiError, Envelope, success};
use crate::signed_in::Callers;
use crate::{body, idempotency};

/// Stores a log entry, as `POST /handle` does.
#[utoipa::path(post, path = "/log-grpc", operation_id = "log_grpc", tag = "broker",
    params(idempotency::Header),
    request_body = LogAction,
    security((), ("bearer" = [])),
    responses(
        (status = 202, description = "`logged`: the logger has stored it", body = Envelope),
        (status = 400, description = "The body is invalid"),
        (status = 401, description = "Not signed in, and the Stack has not opened `log`; or the access token is invalid"),
        (status = 422, description = "The idempotency key of a signed-in user was used before with other content"),
    ))]
pub(super) async fn post(
    State(callers): State<Arc<Callers>>,
    State(quotas): State<Arc<Quotas>>,
    State(clock): State<Arc<dyn Clock>>,
    State(logger): State<Arc<Logger>>,
    Extension(client): Extension<Client>,
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
    let caller = callers.require(&parts.headers, Action::Log).await?;
    let log = payload.log.ok_or_else(|| missing_log_entry("log"))?;
    let writer = Writer { caller: caller.as_ref(), address: client.address };
    let stored = store_log(&*clock, &logger, caller.as_ref(), key, log);
    quotas.open_write(writer, size, stored).await?;
    Ok(success(StatusCode::ACCEPTED, "logged"))
}
