//! `POST /log-grpc`: the original's second way to log. Ours are one way, with the original's answer.

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use weft_proto::weft::log::v1::Level;

use super::handle::{Payload, lacks};
use crate::app::App;
use crate::reply::{ApiError, success};
use crate::{body, idempotency};

pub(super) async fn post(State(app): State<App>, request: Request<Body>) -> Result<Response, ApiError> {
    let id = idempotency::id(request.headers(), &*app.clock)?;
    let payload: Payload = body::json(request).await?;
    if payload.action != "log" {
        return Err(ApiError::bad_request("unknown action"));
    }
    let log = payload.log.ok_or_else(|| lacks("log"))?;
    app.write(id, Level::Info, log.name, log.data).await?;
    Ok(success(StatusCode::ACCEPTED, "logged"))
}
