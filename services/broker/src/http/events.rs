//! `POST /v1/events`: one event, or up to 1,000, each with a result of its own.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use futures::{StreamExt as _, stream};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;
use utoipa::openapi::schema::{
    AnyOfBuilder, ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type,
};
use utoipa::openapi::{KnownFormat, Ref, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;
use weft_events::Event;

use super::handle::{Log, SOURCE, check_name};
use crate::app::App;
use crate::body::Rest;
use crate::mail::{self, Mail};
use crate::openapi::add;
use crate::reply::{ApiError, Problem};
use crate::signed_in::SignedIn;
use crate::{body, idempotency, upstream};

const MOST: usize = 1_000;
/// Of one request; the publisher bounds all of them together.
const AT_ONCE: usize = 64;
/// A batch has this many times as long as one event.
const BATCH_TIMEOUT: u32 = 5;
const LOG_TYPES: [&str; 3] = ["log.INFO", "log.WARNING", "log.ERROR"];

/// An event as a client writes it.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object with type and data")]
struct NewEvent {
    r#type: String,
    data: Value,
    #[serde(default, deserialize_with = "given")]
    id: Option<Uuid>,
    #[serde(flatten)]
    _rest: Rest,
}

/// An id may be left out, but null is none.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Uuid>, D::Error> {
    Uuid::deserialize(deserializer).map(Some)
}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum EventStatus {
    /// RabbitMQ has confirmed it.
    Accepted,
    /// It is none that anybody could handle: repeating it is of no use.
    Rejected,
    /// RabbitMQ could not be reached in time: repeat it with the same id.
    Unavailable,
}

/// What became of one event.
#[derive(Debug, Serialize, ToSchema)]
struct EventResult {
    /// The event's id; null where one that was rejected has none.
    #[schema(required = true)]
    id: Option<Uuid>,
    status: EventStatus,
    /// What is wrong, for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
}

/// What became of each event, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventResults {
    results: Vec<EventResult>,
}

/// Publishes one event, or up to 1,000 of them.
///
/// A single one that fails is answered with an error. Of several, each has a result of its own, whatever became of the others.
#[utoipa::path(post, path = "/v1/events", operation_id = "publish_events", tag = "events",
    params(idempotency::Header),
    request_body = Events,
    security(("bearer" = [])),
    responses(
        (status = 202, description = "RabbitMQ has confirmed the one; of several, see each", body = EventResults),
        (status = 400, description = "The body is none that is wanted"),
        (status = 401, description = "Nobody is signed in"),
        (status = 403, description = "A page of another origin sent it"),
        (status = 502, description = "No queue takes the event"),
        (status = 503, description = "RabbitMQ can't be reached in time"),
    ))]
pub(super) async fn post(
    State(app): State<App>,
    _caller: SignedIn,
    request: Request<Body>,
) -> Result<(StatusCode, Json<EventResults>), Problem> {
    let id = idempotency::id(request.headers(), &*app.clock)?;
    let (parts, body) = request.into_parts();
    let bytes = body::bytes(&parts.headers, body).await?;
    let results = if bytes.trim_ascii_start().starts_with(b"[") {
        many(&app, id, &bytes).await?
    } else {
        let event = event(&app, id, &bytes).map_err(|(_, error)| error)?;
        publish(&app, &event, Instant::now() + app.publish_timeout).await?;
        vec![result(&event.id, Ok(()))]
    };
    Ok((StatusCode::ACCEPTED, Json(EventResults { results })))
}

async fn many(app: &App, id: Uuid, bytes: &[u8]) -> Result<Vec<EventResult>, ApiError> {
    let items: Vec<Box<RawValue>> = body::parse(bytes)?;
    if items.is_empty() || items.len() > MOST {
        let count = items.len();
        return Err(ApiError::bad_request(format!("the body has {count} events, but wants 1 to {MOST}")));
    }
    let deadline = Instant::now() + app.publish_timeout * BATCH_TIMEOUT;
    let published = items.into_iter().enumerate().map(|(index, item)| async move {
        // One key stands for all of them: a repeat of the request makes the same ids.
        let id = Uuid::new_v5(&id, &index.to_be_bytes());
        match event(app, id, item.get().as_bytes()) {
            Ok(event) => result(&event.id, publish(app, &event, deadline).await),
            Err((id, error)) => rejected(id, &error),
        }
    });
    Ok(stream::iter(published).buffered(AT_ONCE).collect().await)
}

/// An event that somebody will be able to handle, else the id it came with and what is wrong.
fn event(app: &App, id: Uuid, bytes: &[u8]) -> Result<Event, (Option<Uuid>, ApiError)> {
    let event: NewEvent = body::parse(bytes).map_err(|error| (None, error))?;
    let given = event.id;
    let id = given.unwrap_or(id);
    let data = data(&event.r#type, event.data).map_err(|error| (given, error))?;
    if id.is_nil() {
        return Err((given, ApiError::bad_request("id is the nil UUID, which stands for none")));
    }
    Ok(Event {
        id: id.to_string(),
        kind: event.r#type,
        source: SOURCE.to_owned(),
        time: app.clock.now(),
        data,
    })
}

/// Refuses here what the listener would have to refuse after the event was acknowledged.
fn data(kind: &str, data: Value) -> Result<Vec<u8>, ApiError> {
    if LOG_TYPES.contains(&kind) {
        let log: Log = read(data)?;
        check_name("data.name", &log.name)?;
        return Ok(serde_json::to_vec(&log).unwrap_or_default());
    }
    if kind == mail::EVENT {
        let mail: Mail = read(data)?;
        mail.check("data")?;
        return Ok(serde_json::to_vec(&mail).unwrap_or_default());
    }
    Err(ApiError::bad_request(format!(
        "nobody handles events of this type; there are {} and {}",
        LOG_TYPES.join(", "),
        mail::EVENT
    )))
}

fn read<T: DeserializeOwned>(data: Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(data).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { String::new() } else { format!(".{path}") };
        ApiError::bad_request(format!("the event's data{field} is wrong: {}", error.inner()))
    })
}

async fn publish(app: &App, event: &Event, deadline: Instant) -> Result<(), ApiError> {
    app.publisher.publish(event, deadline).await.map_err(|error| upstream::events(&error))
}

fn result(id: &str, published: Result<(), ApiError>) -> EventResult {
    let id = id.parse().ok();
    match published {
        Ok(()) => EventResult { id, status: EventStatus::Accepted, detail: None },
        Err(error) if error.status == StatusCode::SERVICE_UNAVAILABLE => {
            EventResult { id, status: EventStatus::Unavailable, detail: Some(error.message.into_owned()) }
        }
        Err(error) => rejected(id, &error),
    }
}

fn rejected(id: Option<Uuid>, error: &ApiError) -> EventResult {
    EventResult { id, status: EventStatus::Rejected, detail: Some(error.message.to_string()) }
}

/// The body: one event, or several. Each of several is judged alone, so the description says nothing of their shape that it
/// has not said of the one.
pub(super) struct Events;

impl PartialSchema for Events {
    fn schema() -> RefOr<Schema> {
        let event = |kinds: &[&str], data: &str| {
            let kinds =
                ObjectBuilder::new().schema_type(Type::String).enum_values(Some(kinds.iter().copied()));
            let id = ObjectBuilder::new()
                .schema_type(Type::String)
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
                .description(Some("Made by the caller; a repeat with it is the same event"));
            ObjectBuilder::new()
                .property("type", kinds)
                .property("data", Ref::from_schema_name(data))
                .property("id", id)
                .required("type")
                .required("data")
                .build()
        };
        let one = OneOfBuilder::new()
            .item(event(&LOG_TYPES, &Log::name()))
            .item(event(&[mail::EVENT], &Mail::name()));
        let many = ArrayBuilder::new()
            .items(ObjectBuilder::new().schema_type(SchemaType::AnyValue))
            .min_items(Some(1))
            .max_items(Some(MOST))
            .description(Some("Each is an event as above. One that is none has the result `rejected`."));
        Schema::AnyOf(AnyOfBuilder::new().item(one).item(many).build()).into()
    }
}

impl ToSchema for Events {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        add::<Log>(schemas);
        add::<Mail>(schemas);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn data_is_what_the_listener_can_handle() {
        let log = data("log.ERROR", json!({"name": "n", "data": "d", "more": 1})).unwrap();
        assert_eq!(String::from_utf8(log).unwrap(), r#"{"name":"n","data":"d"}"#);
        let mail = json!({"from": "a@b.c", "to": "d@e.f", "subject": "s", "message": "m"});
        assert_eq!(serde_json::from_slice::<Value>(&data("mail.send", mail.clone()).unwrap()).unwrap(), mail);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let said = |kind: &str, value: Value| data(kind, value).unwrap_err().message.into_owned();
        assert!(said("log.INFO", json!({"name": 5})).starts_with("the event's data.name is wrong"));
        assert!(said("log.INFO", json!({"name": " "})).starts_with("data.name: the name is empty"));
        assert!(said("log.INFO", json!("text")).contains("an object with name and data"));
        let no_at = said("mail.send", json!({"from": "a@b.c", "to": "x"}));
        assert!(no_at.starts_with("data.to: invalid email address: it has no @"));
        assert!(said("log.LOUD", json!({})).contains("log.WARNING"));
    }
}
