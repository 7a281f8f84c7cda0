//! `GET /v1/traces/{id}`: one trace, as far as Jaeger has it, for viewers and admins.

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::{Extension, Json};
use weft_runtime::telemetry::chain;

use crate::app::App;
use crate::in_flight::{self, Share};
use crate::reply::{ApiError, Problem};
use crate::signed_in::Viewer;
use crate::traces::{Trace, TraceError, TraceId};
use crate::upstream;

/// A trace's spans. They come to Jaeger some seconds after the request, and not all at once.
#[utoipa::path(get, path = "/v1/traces/{id}", operation_id = "get_trace", tag = "traces",
    params(("id" = String, Path, pattern = "^[0-9a-f]{32}$", description = "As `traceresponse` has it")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "What Jaeger has of it", body = Trace),
        (status = 400, description = "The id is none"),
        (status = 401, description = "Nobody is signed in"),
        (status = 403, description = "The caller is neither a viewer nor an admin"),
        (status = 404, description = "Jaeger does not know it, or not yet"),
        (status = 502, description = "Jaeger's answer is no trace, or larger than is read"),
        (status = 503, description = "Jaeger can't be reached in time, or the Stack has none"),
    ))]
pub(super) async fn get(
    State(app): State<App>,
    _caller: Viewer,
    Extension(share): Extension<Share>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Trace>, Problem> {
    let id = id.ok().and_then(|Path(id)| TraceId::parse(&id)).ok_or_else(|| {
        ApiError::bad_request("the trace's id in the path has to be 32 lower-case hexadecimal digits")
    })?;
    let Some(jaeger) = &app.jaeger else {
        let said = "this Stack has no Jaeger to read traces from: BROKER_JAEGER_URL is not set";
        return Err(ApiError::unavailable(said, upstream::RETRY_AFTER).into());
    };
    let found = jaeger.trace(&id, &share).await.map_err(|error| failed(&error))?;
    let trace = found.ok_or_else(|| ApiError::not_found("Jaeger does not know this trace, or not yet"))?;
    Ok(Json(trace))
}

fn failed(error: &TraceError) -> ApiError {
    tracing::warn!(reason = chain(error), "a trace could not be read");
    match error {
        TraceError::Http(_) | TraceError::Status(_) => {
            ApiError::unavailable("Jaeger can't be reached in time; try again", upstream::RETRY_AFTER)
        }
        TraceError::NoRoom(exceeded) => in_flight::refusal(*exceeded),
        TraceError::TooLarge | TraceError::Shape(_) => ApiError::new(
            axum::http::StatusCode::BAD_GATEWAY,
            "Jaeger's answer is no trace, or is larger than the broker reads",
        ),
    }
}
