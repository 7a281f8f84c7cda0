//! `POST /handle`: the original's one door for everything, by `action`.

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;
use weft_events::Event;
use weft_proto::weft::log::v1::Level;

use crate::app::App;
use crate::body::Rest;
use crate::reply::{ApiError, success, success_with};
use crate::{body, idempotency, upstream};

/// Who says so, in the events that the broker publishes.
const SOURCE: &str = "broker";

/// What a client may ask for.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object with an action")]
pub(super) struct Payload {
    pub(super) action: String,
    pub(super) log: Option<Log>,
    event: Option<EventPayload>,
    #[serde(flatten)]
    _rest: Rest,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object with name and data")]
pub(super) struct Log {
    pub(super) name: String,
    #[serde(default)]
    pub(super) data: String,
    #[serde(flatten)]
    _rest: Rest,
}

#[derive(Debug, Deserialize)]
#[serde(expecting = "an object with name and data")]
struct EventPayload {
    name: String,
    #[serde(default)]
    data: String,
    #[serde(default)]
    severity: Severity,
    #[serde(flatten)]
    _rest: Rest,
}

/// The original's routing keys: `log.INFO`, `log.WARNING`, `log.ERROR`.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "UPPERCASE", expecting = "one of INFO, WARNING, ERROR")]
enum Severity {
    #[default]
    Info,
    Warning,
    Error,
}

impl Severity {
    fn routing_key(self) -> &'static str {
        match self {
            Self::Info => "log.INFO",
            Self::Warning => "log.WARNING",
            Self::Error => "log.ERROR",
        }
    }
}

pub(super) async fn post(State(app): State<App>, request: Request<Body>) -> Result<Response, ApiError> {
    let id = idempotency::id(request.headers(), &*app.clock)?;
    let payload: Payload = body::json(request).await?;
    match payload.action.as_str() {
        "log" => {
            let log = payload.log.ok_or_else(|| lacks("log"))?;
            let name = log.name.clone();
            app.write(id, Level::Info, log.name, log.data).await?;
            Ok(success(StatusCode::ACCEPTED, format!("Processed payload via RPC:{name}")))
        }
        "event" => {
            publish(&app, id, payload.event.ok_or_else(|| lacks("event"))?).await?;
            Ok(success_with(StatusCode::ACCEPTED, "logged via RabbitMQ", json!({ "id": id })))
        }
        _ => Err(ApiError::bad_request("unknown action")),
    }
}

async fn publish(app: &App, id: Uuid, event: EventPayload) -> Result<(), ApiError> {
    let EventPayload { name, data, severity, _rest } = event;
    check_name("event.name", &name)?;
    let event = Event {
        id: id.to_string(),
        kind: severity.routing_key().to_owned(),
        source: SOURCE.to_owned(),
        time: app.clock.now(),
        data: json!({ "name": name, "data": data }).to_string().into_bytes(),
    };
    app.publisher
        .publish(&event, Instant::now() + app.publish_timeout)
        .await
        .map_err(|error| upstream::events(&error))
}

/// Refuses here what the listener would have to refuse after the event was acknowledged.
pub(crate) fn check_name(field: &str, name: &str) -> Result<(), ApiError> {
    const LONGEST: usize = 256;
    if name.trim().is_empty() {
        return Err(ApiError::bad_request(format!("{field} is empty: an entry needs a name")));
    }
    if name.chars().count() > LONGEST {
        return Err(ApiError::bad_request(format!("{field} has more than {LONGEST} characters")));
    }
    Ok(())
}

pub(super) fn lacks(field: &str) -> ApiError {
    ApiError::bad_request(format!("action {field} needs the field {field}, an object with name and data"))
}
