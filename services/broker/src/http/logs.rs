//! `GET /v1/logs`: stored log entries, newest first, for viewers and admins.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weft_proto::weft::log::v1::{Entry, Level, QueryRequest};

use super::{query, read_limit};
use crate::logger::Logger;
use crate::reply::{ApiError, Problem};
use crate::signed_in::Viewer;
use crate::traces::TraceId;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filters {
    service: Option<String>,
    level: Option<String>,
    trace_id: Option<String>,
    text: Option<String>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// Log entries, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Logs {
    items: Vec<LogEntry>,
    /// Null on the last page.
    #[schema(required = true)]
    next_cursor: Option<String>,
    /// Start of the default time range, if it applied: `text` without `from`, `service` and `trace_id`. Otherwise null.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    default_from: Option<Timestamp>,
}

/// A stored log entry.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LogEntry {
    id: String,
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    time: Option<Timestamp>,
    service: String,
    #[schema(value_type = String)]
    level: &'static str,
    name: String,
    data: String,
    #[schema(required = true)]
    trace_id: Option<String>,
    attributes: BTreeMap<String, String>,
}

/// Stored log entries, newest first. A page may have fewer entries than `limit`, or none, and still have a `next_cursor`.
#[utoipa::path(get, path = "/v1/logs", operation_id = "list_logs", tag = "logs",
    params(
        ("service" = Option<String>, Query, nullable = false, max_length = 128, description = "Only this service"),
        ("level" = inline(Option<LogLevel>), Query, nullable = false, description = "Only this level"),
        ("trace_id" = Option<String>, Query, nullable = false, min_length = 32, max_length = 32, pattern = "^[0-9a-f]*[1-9a-f][0-9a-f]*$", description = "Only this trace"),
        ("text" = Option<String>, Query, nullable = false, max_length = 256, description = "Only entries whose name or data contains this text. Without `from`, `service` and `trace_id`, only the 24 hours before `to` (default: now) are searched"),
        ("from" = Option<String>, Query, nullable = false, format = DateTime, description = "At or after this time"),
        ("to" = Option<String>, Query, nullable = false, format = DateTime, description = "Before this time"),
        ("limit" = Option<u32>, Query, nullable = false, minimum = 1, maximum = 1000, description = "Default: 100"),
        ("cursor" = Option<String>, Query, nullable = false, description = "`next_cursor` of the previous page"),
    ),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page", body = Logs),
        (status = 400, description = "A field of the query is invalid"),
        (status = 403, description = "The caller is neither a viewer nor an admin"),
        (status = 429, description = "Too many requests, or too many searches are running"),
        (status = 504, description = "The search timed out: narrow it by time or service"),
    ))]
pub(super) async fn get(
    State(logger): State<Arc<Logger>>,
    Viewer(caller): Viewer,
    uri: Uri,
) -> Result<Json<Logs>, Problem> {
    let page = logger.search(&caller, query::<Filters>(&uri)?.into_request()?).await?;
    Ok(Json(Logs {
        items: page.items.into_iter().map(LogEntry::from).collect(),
        next_cursor: Some(page.next_cursor).filter(|cursor| !cursor.is_empty()),
        default_from: page.default_from.and_then(to_timestamp),
    }))
}

/// Severity of a log entry.
#[derive(ToSchema)]
#[schema(rename_all = "UPPERCASE")]
#[expect(dead_code, reason = "only for the OpenAPI description; values are parsed as the logger's `Level`")]
enum LogLevel {
    Trace,
    Debug,
    Info,
    Warning,
    Error,
    Fatal,
}

impl Filters {
    fn into_request(self) -> Result<QueryRequest, ApiError> {
        let Self { service, level, trace_id, text, from, to, limit, cursor } = self;
        Ok(QueryRequest {
            service: service.unwrap_or_default(),
            level: level.as_deref().map(read_level).transpose()?.unwrap_or_default().into(),
            trace_id: trace_id.map(read_trace_id).transpose()?.unwrap_or_default(),
            text: text.unwrap_or_default(),
            from: from.as_deref().map(|value| read_time("from", value)).transpose()?,
            to: to.as_deref().map(|value| read_time("to", value)).transpose()?,
            limit: limit.as_deref().map(read_limit).transpose()?.unwrap_or_default(),
            cursor: cursor.unwrap_or_default(),
        })
    }
}

fn read_trace_id(value: String) -> Result<String, ApiError> {
    match TraceId::parse(&value) {
        Some(id) if !id.is_invalid() => Ok(value),
        _ => Err(ApiError::bad_request(
            "trace_id: invalid trace id; expected 32 lower-case hexadecimal digits, not all 0",
        )),
    }
}

fn read_level(value: &str) -> Result<Level, ApiError> {
    Level::from_str_name(&format!("LEVEL_{value}")).filter(|level| *level != Level::Unspecified).ok_or_else(
        || {
            ApiError::bad_request(format!(
                "level: invalid value `{value}`: expected one of TRACE, DEBUG, INFO, WARNING, ERROR, FATAL"
            ))
        },
    )
}

pub(super) fn read_time(name: &str, value: &str) -> Result<prost_types::Timestamp, ApiError> {
    let time: Timestamp = value.parse().map_err(|error: jiff::Error| {
        if error.is_range() {
            return ApiError::bad_request(format!(
                "{name}: the time `{value}` is out of range; expected one from 0001-01-01T00:00:00Z to 9999-12-30T22:00:00Z"
            ));
        }
        // In a query string, `+` means a space.
        let hint = if value.contains(' ') { " (write `+` as %2B in a query)" } else { "" };
        ApiError::bad_request(format!(
            "{name}: invalid time `{value}`; expected one such as 2026-01-31T12:00:00Z{hint}: {error}"
        ))
    })?;
    let time = weft_values::time::to_proto(time);
    weft_values::time::to_ms(&time).map_err(|error| ApiError::invalid(name, error))?;
    Ok(time)
}

fn to_timestamp(time: prost_types::Timestamp) -> Option<Timestamp> {
    Timestamp::new(time.seconds, time.nanos).ok()
}

impl From<Entry> for LogEntry {
    fn from(entry: Entry) -> Self {
        let level = entry.level().as_str_name().trim_start_matches("LEVEL_");
        let Entry { id, time, service, level: _, name, data, trace_id, attributes } = entry;
        Self {
            id,
            time: time.and_then(to_timestamp),
            service,
            level,
            name,
            data,
            trace_id: Some(trace_id).filter(|id| !id.is_empty()),
            attributes: attributes.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_an_invalid_filter() {
        let message = |filters: Filters| filters.into_request().unwrap_err().message;
        for level in ["info", "UNSPECIFIED", "", "LOUD"] {
            assert!(
                message(Filters { level: Some(level.into()), ..Filters::default() }).starts_with("level: ")
            );
        }
        for time in ["yesterday", "2026-01-31", "+10000-01-01T00:00:00Z"] {
            assert!(message(Filters { from: Some(time.into()), ..Filters::default() }).starts_with("from: "));
        }
        for id in ["", "abc", &"A".repeat(32), &"0".repeat(32)] {
            let filters = Filters { trace_id: Some(id.into()), ..Filters::default() };
            assert!(message(filters).starts_with("trace_id: "));
        }
    }

    #[test]
    fn accepts_a_fractional_time_before_1970() {
        let time = read_time("from", "1969-12-31T23:59:59.5Z").unwrap();
        assert_eq!((time.seconds, time.nanos), (-1, 500_000_000));
    }

    #[test]
    fn explains_an_unescaped_plus() {
        // As it arrives from `from=2026-01-31T12:00:00+01:00`.
        let error = read_time("from", "2026-01-31T12:00:00 01:00").unwrap_err();
        assert!(error.message.contains("%2B"), "{}", error.message);
        assert!(read_time("from", "2026-01-31T12:00:00+01:00").is_ok());
        assert!(!read_time("from", "yesterday").unwrap_err().message.contains("%2B"));
    }

    #[test]
    fn omitted_filters_do_not_filter() {
        assert_eq!(Filters::default().into_request().unwrap(), QueryRequest::default());
    }
}
