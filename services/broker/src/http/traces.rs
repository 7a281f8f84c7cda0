//! `GET /v1/traces/{id}`: a trace as stored in Jaeger, for viewers and admins.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use weft_runtime::telemetry::chain;

use crate::in_flight::{self, Share};
use crate::reply::{ApiError, Problem};
use crate::signed_in::Viewer;
use crate::traces::{Jaeger, Trace, TraceError, TraceId};
use crate::upstream;

/// The spans of a trace. They arrive in Jaeger some seconds after the request, and not all at once.
#[utoipa::path(get, path = "/v1/traces/{id}", operation_id = "get_trace", tag = "traces",
    params(("id" = String, Path, pattern = "^[0-9a-f]{32}$", description = "The trace id in `traceresponse`")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The spans that Jaeger has", body = Trace),
        (status = 400, description = "The id is invalid"),
        (status = 403, description = "The caller is neither a viewer nor an admin"),
        (status = 404, description = "Trace not found in Jaeger; it may not have arrived yet"),
        (status = 502, description = "Jaeger's reply is invalid, or larger than 16 MiB"),
        (status = 503, description = "Jaeger can't be reached in time, or the Stack has no Jaeger"),
    ))]
pub(super) async fn get(
    State(jaeger): State<Option<Arc<Jaeger>>>,
    _caller: Viewer,
    Extension(share): Extension<Share>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Trace>, Problem> {
    let id = id.ok().and_then(|Path(id)| TraceId::parse(&id)).ok_or_else(|| {
        ApiError::bad_request("invalid trace id in the path: expected 32 lower-case hexadecimal digits")
    })?;
    let Some(jaeger) = jaeger else {
        let message = "traces are unavailable: BROKER_JAEGER_URL is not set";
        return Err(ApiError::unavailable(message, upstream::RETRY_AFTER).into());
    };
    let found = jaeger.trace(&id, &share).await.map_err(|error| failed(&error))?;
    let trace =
        found.ok_or_else(|| ApiError::not_found("trace not found in Jaeger; it may not have arrived yet"))?;
    Ok(Json(trace))
}

fn failed(error: &TraceError) -> ApiError {
    tracing::warn!(reason = chain(error), "failed to read a trace from Jaeger");
    match error {
        TraceError::Http(_) | TraceError::Status(_) => {
            ApiError::unavailable("Jaeger can't be reached in time; try again", upstream::RETRY_AFTER)
        }
        TraceError::NoRoom(exceeded) => in_flight::refusal(*exceeded),
        TraceError::TooLarge | TraceError::Shape(_) => ApiError::new(
            axum::http::StatusCode::BAD_GATEWAY,
            "Jaeger's reply is not a trace, or is larger than 16 MiB",
        ),
    }
}
