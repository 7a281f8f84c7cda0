//! `POST /v1/events`: publishes one event, or a batch of up to 1,000, each with its own result.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::{Extension, Json};
use futures::{StreamExt as _, stream};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type,
};
use utoipa::openapi::{KnownFormat, Ref, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;
use weft_events::Event;
use weft_mesh::Caller;
use weft_runtime::clock::Clock;
use weft_values::id;
use weft_values::key::{Key, Operation, Scope};

use super::handle::{Log, SOURCE, check_name};
use crate::body::Rest;
use crate::client::Client;
use crate::mail::{self, Mail};
use crate::openapi::add;
use crate::quotas::{Quotas, Writer};
use crate::reply::{ApiError, Problem};
use crate::signed_in::SignedIn;
use crate::{body, events, idempotency};

const MAX_EVENTS: usize = 1_000;
/// Concurrent publications of one request. The publisher bounds those of all requests together.
const CONCURRENT: usize = 64;
/// The timeout of a batch is this many times the timeout of a single event.
const BATCH_TIMEOUT: u32 = 5;
const LOG_TYPES: [&str; 3] = ["log.INFO", "log.WARNING", "log.ERROR"];

/// An event as a client writes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with type and data")]
struct NewEvent {
    r#type: String,
    data: Value,
    #[serde(default, deserialize_with = "not_null")]
    id: Option<Uuid>,
    #[serde(flatten)]
    _rest: Rest,
}

/// The id may be omitted, but must not be null.
fn not_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Uuid>, D::Error> {
    Uuid::deserialize(deserializer).map(Some)
}

/// Outcome of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum EventStatus {
    /// RabbitMQ has confirmed it.
    Accepted,
    /// The event is invalid. Repeating it does not help.
    Rejected,
    /// RabbitMQ could not be reached in time, or a limit on mails was exceeded. Repeat the event later with the same id.
    Unavailable,
}

/// Result of one event.
#[derive(Debug, Clone, Serialize, ToSchema)]
struct EventResult {
    /// The item's id from the request, otherwise the event's id; null for a rejected item without an id.
    #[schema(required = true)]
    id: Option<Uuid>,
    /// The id of the event, and of the log entry or mail that it becomes; null for a rejected item.
    #[schema(required = true)]
    event_id: Option<Uuid>,
    status: EventStatus,
    /// What is wrong, for a human reader.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    detail: Option<String>,
}

/// Results of all events, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventResults {
    results: Vec<EventResult>,
}

/// Publishes one event, or a batch of up to 1,000.
///
/// A single event that fails is answered with an error. In a batch, each event has its own result, independent of the others.
#[utoipa::path(post, path = "/v1/events", operation_id = "publish_events", tag = "events",
    params(idempotency::Header),
    request_body = Events,
    security(("bearer" = [])),
    responses(
        (status = 202, description = "A single event: RabbitMQ has confirmed it. A batch: see each result", body = EventResults),
        (status = 400, description = "The body is invalid"),
        (status = 429, description = "Too many requests, or too many mails from this user or to this recipient"),
        (status = 502, description = "No queue is bound for the event's type"),
    ))]
pub(super) async fn post(
    State(clock): State<Arc<dyn Clock>>,
    State(events): State<Arc<events::Events>>,
    State(quotas): State<Arc<Quotas>>,
    SignedIn(caller): SignedIn,
    Extension(client): Extension<Client>,
    request: Request<Body>,
) -> Result<(StatusCode, Json<EventResults>), Problem> {
    let key = idempotency::key(request.headers())?;
    let (parts, body) = request.into_parts();
    let bytes = body::bytes(&parts.headers, body).await?;
    let writer = Writer { caller: Some(&caller), address: client.address };
    let reader = Reader {
        clock: &*clock,
        events: &events,
        quotas: &quotas,
        caller: &caller,
        writer,
        key: key.as_ref(),
    };
    let results = if bytes.trim_ascii_start().starts_with(b"[") {
        many(&reader, &bytes).await?
    } else {
        let item = reader.item("", None, &bytes).map_err(|(_, error)| error)?;
        reader.publish(&item, Instant::now() + events.timeout).await?;
        vec![result(&item, Ok(()))]
    };
    Ok((StatusCode::ACCEPTED, Json(EventResults { results })))
}

async fn many(reader: &Reader<'_>, bytes: &[u8]) -> Result<Vec<EventResult>, ApiError> {
    let items: Vec<Box<RawValue>> = body::parse(bytes)?;
    if items.is_empty() || items.len() > MAX_EVENTS {
        let count = items.len();
        return Err(ApiError::bad_request(format!(
            "the batch has {count} events; expected 1 to {MAX_EVENTS}"
        )));
    }
    let deadline = Instant::now() + reader.events.timeout * BATCH_TIMEOUT;
    let published = reader.items(&items).into_iter().map(|answer| async move {
        match answer {
            Answer::Publish(item) => Ok(result(&item, reader.publish(&item, deadline).await)),
            Answer::SameAs(first) => Err(first),
            Answer::Rejected(id, error) => Ok(rejected(id, &error)),
        }
    });
    let answered: Vec<Result<EventResult, usize>> =
        stream::iter(published).buffered(CONCURRENT).collect().await;
    let first = |index: &usize| answered.get(*index).and_then(|answer| answer.clone().ok());
    Ok(answered.iter().filter_map(|answer| answer.clone().map_or_else(|index| first(&index), Some)).collect())
}

/// An event to publish.
struct Item {
    /// The id in the request.
    given: Option<Uuid>,
    id: Uuid,
    event: Event,
    /// The recipient, if the event is a mail.
    recipient: Option<String>,
}

/// How an item of a batch is answered.
enum Answer {
    /// Publish the event and answer with the outcome.
    Publish(Item),
    /// Same result as this earlier item, which has the same id and content.
    SameAs(usize),
    /// The item is invalid.
    Rejected(Option<Uuid>, ApiError),
}

/// Reads and publishes the items of one request.
struct Reader<'a> {
    clock: &'a dyn Clock,
    events: &'a events::Events,
    quotas: &'a Quotas,
    caller: &'a Caller,
    writer: Writer<'a>,
    key: Option<&'a Key>,
}

impl Reader<'_> {
    /// Reads the items of a batch. If two items have the same id, the second is either a repeat of the first or a conflict.
    fn items(&self, items: &[Box<RawValue>]) -> Vec<Answer> {
        let mut seen: HashMap<Uuid, (usize, Uuid)> = HashMap::new();
        let each = items.iter().enumerate().map(|(index, item)| {
            let item = match self.item(&format!("[{index}]."), Some(index), item.get().as_bytes()) {
                Ok(item) => item,
                Err((given, error)) => return Answer::Rejected(given, error),
            };
            let Some(given) = item.given else { return Answer::Publish(item) };
            let (first, id) = *seen.entry(given).or_insert((index, item.id));
            match (first == index, id == item.id) {
                (true, _) => Answer::Publish(item),
                (false, true) => Answer::SameAs(first),
                (false, false) => {
                    let error =
                        format!("[{index}].id: conflict: [{first}] has the same id with other content");
                    Answer::Rejected(Some(given), ApiError::bad_request(error))
                }
            }
        });
        each.collect()
    }

    /// Reads an item and checks that its consumer can handle the event.
    ///
    /// # Errors
    /// With the item's id, if it has one, and what is wrong.
    fn item(
        &self,
        place: &str,
        index: Option<usize>,
        bytes: &[u8],
    ) -> Result<Item, (Option<Uuid>, ApiError)> {
        let NewEvent { r#type: kind, data, id: given, _rest } =
            body::parse(bytes).map_err(|error| (None, error))?;
        if let Some(Err(error)) = given.map(id::check) {
            return Err((given, ApiError::invalid(&format!("{place}id"), error)));
        }
        let data = data_of(&kind, data).map_err(|error| (given, error))?;
        let id = self.id(given, index, &kind, &data);
        let (source, time) = (SOURCE.to_owned(), self.clock.now());
        let event = Event { id: id.to_string(), kind, source, time, data: data.json };
        Ok(Item { given, id, event, recipient: data.recipient })
    }

    async fn publish(&self, item: &Item, deadline: Instant) -> Result<(), ApiError> {
        let Item { event, recipient, .. } = item;
        let publish = self.events.publish(event, deadline);
        match recipient {
            Some(recipient) => self.quotas.mail(self.writer, recipient, publish).await,
            None => publish.await,
        }
    }

    /// Derives the event's id from the item's own id, otherwise from the request's idempotency key and the item's index. Without
    /// either, the id is new.
    fn id(&self, given: Option<Uuid>, index: Option<usize>, kind: &str, data: &Data) -> Uuid {
        let given = given.map(|id| id.to_string());
        let (key, index) = match (&given, self.key) {
            (Some(id), _) => (id.as_str(), None),
            (None, Some(key)) => (key.as_str(), index),
            (None, None) => return self.clock.new_id(),
        };
        let content: Vec<&str> = [kind].into_iter().chain(data.fields.iter().map(String::as_str)).collect();
        Scope { caller: Some(&self.caller.user), operation: Operation::Event, key, index }
            .id_of_content(&content)
    }
}

/// An event's data, as JSON and as the fields that its id derives from.
struct Data {
    json: Vec<u8>,
    fields: Vec<String>,
    recipient: Option<String>,
}

/// Validates the data of an event. The listener could reject invalid data only after the event was acknowledged.
fn data_of(kind: &str, data: Value) -> Result<Data, ApiError> {
    if LOG_TYPES.contains(&kind) {
        let log: Log = read(data)?;
        check_name("data.name", &log.name)?;
        let json = serde_json::to_vec(&log).unwrap_or_default();
        return Ok(Data { json, fields: vec![log.name, log.data], recipient: None });
    }
    if kind == mail::EVENT {
        let mail: Mail = read(data)?;
        mail.check("data")?;
        let json = serde_json::to_vec(&mail).unwrap_or_default();
        let recipient = Some(mail.to.clone());
        return Ok(Data { json, fields: vec![mail.from, mail.to, mail.subject, mail.message], recipient });
    }
    Err(ApiError::bad_request(format!(
        "type: unknown event type `{kind:.64}`: expected one of {}, {}",
        LOG_TYPES.join(", "),
        mail::EVENT
    )))
}

fn read<T: DeserializeOwned>(data: Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(data).map_err(|error| {
        let path = error.path().to_string();
        let field = if path == "." { String::new() } else { format!(".{path}") };
        ApiError::bad_request(format!("data{field}: {}", error.inner()))
    })
}

fn result(item: &Item, published: Result<(), ApiError>) -> EventResult {
    let id = Some(item.given.unwrap_or(item.id));
    let (status, detail) = match published {
        Ok(()) => (EventStatus::Accepted, None),
        Err(error) if error.retry_after.is_some() => {
            (EventStatus::Unavailable, Some(error.message.into_owned()))
        }
        Err(error) => return rejected(id, &error),
    };
    EventResult { id, event_id: Some(item.id), status, detail }
}

fn rejected(id: Option<Uuid>, error: &ApiError) -> EventResult {
    let detail = Some(error.message.to_string());
    EventResult { id, event_id: None, status: EventStatus::Rejected, detail }
}

/// The request body: one event, or a batch. The items of a batch are validated one by one, so the schema of the array does not
/// constrain them.
pub(super) struct Events;

impl PartialSchema for Events {
    fn schema() -> RefOr<Schema> {
        let event = |kinds: &[&str], data: &str| {
            let kinds =
                ObjectBuilder::new().schema_type(Type::String).enum_values(Some(kinds.iter().copied()));
            let id = ObjectBuilder::new()
                .schema_type(Type::String)
                .format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)))
                .description(Some("Chosen by the caller; not the nil UUID. A repeat with the same id and content is the same event"));
            ObjectBuilder::new()
                .property("type", kinds)
                .property("data", Ref::from_schema_name(data))
                .property("id", id)
                .required("type")
                .required("data")
                .additional_properties(Some(AdditionalProperties::FreeForm(false)))
                .build()
        };
        let one = OneOfBuilder::new()
            .item(event(&LOG_TYPES, &Log::name()))
            .item(event(&[mail::EVENT], &Mail::name()));
        let many = ArrayBuilder::new()
            .items(ObjectBuilder::new().schema_type(SchemaType::AnyValue))
            .min_items(Some(1))
            .max_items(Some(MAX_EVENTS))
            .description(Some("Each item is an event as above. An invalid item gets the result `rejected`."));
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
    fn keeps_only_the_data_that_the_listener_handles() {
        let log = data_of("log.ERROR", json!({"name": "n", "data": "d", "more": 1})).unwrap();
        assert_eq!(String::from_utf8(log.json).unwrap(), r#"{"name":"n","data":"d"}"#);
        let mail = json!({"from": "a@b.c", "to": "d@e.f", "subject": "s", "message": "m"});
        let data = data_of("mail.send", mail.clone()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&data.json).unwrap(), mail);
    }

    #[test]
    fn names_the_invalid_field() {
        let message = |kind: &str, value: Value| {
            data_of(kind, value).map(|data| data.fields).unwrap_err().message.into_owned()
        };
        assert!(message("log.INFO", json!({"name": 5})).starts_with("data.name: invalid type"));
        assert!(message("log.INFO", json!({"name": " "})).starts_with("data.name: the name is empty"));
        assert!(message("log.INFO", json!("text")).contains("an object with name and data"));
        assert!(
            message("mail.send", json!({"from": "a@b.c", "to": "x"}))
                .starts_with("data.to: invalid email address: it has no @")
        );
        assert!(message("log.LOUD", json!({})).contains("log.WARNING"));
    }
}
