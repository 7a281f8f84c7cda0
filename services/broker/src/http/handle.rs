//! `POST /handle`: entry point of the original API; dispatches by `action`.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;
use utoipa::openapi::schema::{Object, ObjectBuilder, OneOf, OneOfBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;
use weft_events::Event;
use weft_mesh::Caller;
use weft_runtime::clock::Clock;
use weft_values::key::{Key, Operation};
use weft_values::text;

use super::parts::{Parts, Shared};
use super::sign_in::{self, Credentials, SignInData};
use crate::body::Rest;
use crate::client::Client;
use crate::logger::Logger;
use crate::mail::{self, Mail};
use crate::open::Action;
use crate::openapi::add;
use crate::quotas::Writer;
use crate::reply::{ApiError, DataEnvelope, Envelope, success, success_with};
use crate::{body, idempotency};

/// The source of the events that the broker publishes.
pub(super) const SOURCE: &str = "broker";

/// The body of `POST /handle`.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object with an action")]
pub(super) struct Payload {
    pub(super) action: String,
    pub(super) log: Option<Log>,
    event: Option<EventPayload>,
    auth: Option<Credentials>,
    mail: Option<Mail>,
    #[serde(flatten)]
    _rest: Rest,
}

/// A log entry.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(expecting = "an object with name and data")]
pub(crate) struct Log {
    #[schema(min_length = 1, max_length = 256, pattern = "[^\\s\\x00-\\x1f\\x7f-\\x9f]")]
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) data: String,
    #[serde(flatten, skip_serializing)]
    #[schema(ignore)]
    pub(crate) _rest: Rest,
}

/// A log entry that is sent through RabbitMQ.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = LogEvent)]
#[serde(expecting = "an object with name and data")]
pub(super) struct EventPayload {
    #[schema(min_length = 1, max_length = 256, pattern = "[^\\s\\x00-\\x1f\\x7f-\\x9f]")]
    name: String,
    #[serde(default)]
    data: String,
    #[serde(default)]
    severity: Severity,
    #[serde(flatten)]
    #[schema(ignore)]
    _rest: Rest,
}

/// The original's routing keys: `log.INFO`, `log.WARNING`, `log.ERROR`.
#[derive(Debug, Default, Clone, Copy, Deserialize, ToSchema)]
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

/// The accepted event.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Accepted {
    /// The id of the event, and of the log entry or mail that it becomes.
    id: Uuid,
}

/// Performs an action: `auth`, `log`, `event` or `mail`.
///
/// `auth` answers 202 with the user, an access token, and a session in an HttpOnly cookie. `log`, `event` and `mail` require a
/// signed-in user, unless the Stack opens them (`spec.openActions`). An access token sent with an open action is checked too.
#[utoipa::path(post, path = "/handle", tag = "broker",
    params(idempotency::Header),
    request_body = Payload,
    security((), ("bearer" = [])),
    responses(
        (status = 202, description = "Stored, or confirmed by RabbitMQ; for `auth`: signed in",
            body = inline(Handled), headers(("Set-Cookie" = String, description = "For `auth`: the session cookie"))),
        (status = 400, description = "The body is invalid"),
        (status = 401, description = "`invalid credentials`, not signed in, or the access token is invalid"),
        (status = 422, description = "For `log` by a signed-in user: the idempotency key was used before with other content"),
        (status = 429, description = "Too many requests, failed sign-ins, mails, or bytes without a sign-in"),
    ))]
pub(super) async fn post(
    State(Shared(parts)): State<Shared>,
    Extension(client): Extension<Client>,
    request: Request<Body>,
) -> Result<Response, ApiError> {
    let key = idempotency::key(request.headers())?;
    let (head, body) = request.into_parts();
    let (payload, size): (Payload, _) = body::read_json(&head.headers, body).await?;
    let address = client.address;
    match payload.action.as_str() {
        "log" => {
            let caller = parts.callers.require(&head.headers, Action::Log).await?;
            let log = payload.log.ok_or_else(|| missing_log_entry("log"))?;
            let name = log.name.clone();
            let writer = Writer { caller: caller.as_ref(), address };
            parts
                .quotas
                .open_write(writer, size, store_log(&*parts.clock, &parts.logger, caller.as_ref(), key, log))
                .await?;
            Ok(success(StatusCode::ACCEPTED, format!("Processed payload via RPC:{name}")))
        }
        "event" => {
            let caller = parts.callers.require(&head.headers, Action::Event).await?;
            let event = payload.event.ok_or_else(|| missing_log_entry("event"))?;
            let writer = Writer { caller: caller.as_ref(), address };
            let published = publish_log(&parts, caller.as_ref(), key, event);
            let id = parts.quotas.open_write(writer, size, published).await?;
            Ok(success_with(StatusCode::ACCEPTED, "logged via RabbitMQ", Accepted { id }))
        }
        "auth" => {
            let credentials = payload.auth.ok_or_else(|| {
                ApiError::bad_request(
                    "missing field `auth`: action auth requires an object with email and password",
                )
            })?;
            sign_in::sign_in(&parts, client, &head.headers, credentials).await
        }
        "mail" => {
            let caller = parts.callers.require(&head.headers, Action::Mail).await?;
            let mail = payload.mail.ok_or_else(|| {
                ApiError::bad_request(
                    "missing field `mail`: action mail requires an object with from, to, subject and message",
                )
            })?;
            mail.check("mail")?;
            let Mail { from, to, subject, message, _rest } = &mail;
            let id = idempotency::id_of_content(
                &*parts.clock,
                caller.as_ref(),
                Operation::Mail,
                key.as_ref(),
                &[from, to, subject, message],
            );
            let writer = Writer { caller: caller.as_ref(), address };
            let published = parts.quotas.mail(writer, to, publish(&parts, id, mail::EVENT, &mail));
            parts.quotas.open_write(writer, size, published).await?;
            Ok(success_with(StatusCode::ACCEPTED, format!("Message sent to {}", mail.to), Accepted { id }))
        }
        other => Err(ApiError::bad_request(format!(
            "unknown action \"{other:.64}\"; expected auth, log, event or mail"
        ))),
    }
}

/// Stores an entry in the logger. For a signed-in caller, the logger compares a repeat with the stored entry.
pub(super) async fn store_log(
    clock: &dyn Clock,
    logger: &Logger,
    caller: Option<&Caller>,
    key: Option<Key>,
    log: Log,
) -> Result<(), ApiError> {
    let Log { name, data, _rest } = log;
    check_name("log.name", &name)?;
    let (operation, key) = (Operation::Log, key.as_ref());
    let id = match caller {
        Some(caller) => idempotency::id(clock, caller, operation, key),
        None => idempotency::id_of_content(clock, None, operation, key, &[&name, &data]),
    };
    logger.write(id, name, data).await
}

async fn publish_log(
    parts: &Parts,
    caller: Option<&Caller>,
    key: Option<Key>,
    event: EventPayload,
) -> Result<Uuid, ApiError> {
    let EventPayload { name, data, severity, _rest } = event;
    check_name("event.name", &name)?;
    let kind = severity.routing_key();
    let (operation, content) = (Operation::Event, [kind, &name, &data]);
    let id = idempotency::id_of_content(&*parts.clock, caller, operation, key.as_ref(), &content);
    publish(parts, id, kind, &json!({ "name": name, "data": data })).await?;
    Ok(id)
}

async fn publish<T: Serialize>(parts: &Parts, id: Uuid, kind: &str, data: &T) -> Result<(), ApiError> {
    let event = Event::json(id.to_string(), kind.to_owned(), SOURCE.to_owned(), parts.clock.now(), data)
        .map_err(|error| ApiError::bad_request(format!("failed to write the event as JSON: {error}")))?;
    parts.events.publish(&event, Instant::now() + parts.events.timeout).await
}

/// Validates the name of an entry. The listener could reject an invalid name only after the event was acknowledged.
pub(super) fn check_name(field: &str, name: &str) -> Result<(), ApiError> {
    text::entry_name(name).map_err(|error| ApiError::invalid(field, error))
}

pub(super) fn missing_log_entry(field: &str) -> ApiError {
    ApiError::bad_request(format!(
        "missing field `{field}`: action {field} requires an object with name and data"
    ))
}

/// The reply to a successful action, in one of its forms.
pub(super) struct Handled;

impl PartialSchema for Handled {
    fn schema() -> RefOr<Schema> {
        let any = [Envelope::name(), DataEnvelope::<Accepted>::name(), DataEnvelope::<SignInData>::name()];
        let any = any.into_iter().fold(utoipa::openapi::schema::AnyOfBuilder::new(), |any, name| {
            any.item(Ref::from_schema_name(name))
        });
        Schema::AnyOf(any.build()).into()
    }
}

impl ToSchema for Handled {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        add::<Envelope>(schemas);
        add::<DataEnvelope<Accepted>>(schemas);
        add::<Accepted>(schemas);
        add::<DataEnvelope<SignInData>>(schemas);
        add::<SignInData>(schemas);
    }
}

/// Schema of an action and the object that it requires.
fn action(action: &str, object: &str) -> Object {
    let word = ObjectBuilder::new().schema_type(Type::String).enum_values(Some([action]));
    ObjectBuilder::new()
        .property("action", word)
        .property(action, Ref::from_schema_name(object))
        .required("action")
        .required(action)
        .build()
}

impl PartialSchema for Payload {
    fn schema() -> RefOr<Schema> {
        let one: OneOf = OneOfBuilder::new()
            .item(action("log", &Log::name()))
            .item(action("event", &EventPayload::name()))
            .item(action("auth", &Credentials::name()))
            .item(action("mail", &Mail::name()))
            .build();
        Schema::OneOf(one).into()
    }
}

impl ToSchema for Payload {
    fn name() -> std::borrow::Cow<'static, str> {
        "Action".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        add::<Log>(schemas);
        add::<EventPayload>(schemas);
        add::<Credentials>(schemas);
        add::<Mail>(schemas);
    }
}

/// The body of `POST /log-grpc`, which has only the action `log`.
pub(super) struct LogAction;

impl PartialSchema for LogAction {
    fn schema() -> RefOr<Schema> {
        Schema::Object(action("log", &Log::name())).into()
    }
}

impl ToSchema for LogAction {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        add::<Log>(schemas);
    }
}
