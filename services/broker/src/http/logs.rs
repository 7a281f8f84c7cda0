//! `GET /v1/logs`: stored entries, newest first.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, RawQuery, State};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use weft_proto::weft::log::v1::{Entry, Level, QueryRequest};

use crate::app::App;
use crate::reply::ApiError;
use crate::upstream;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filters {
    service: Option<String>,
    level: Option<String>,
    trace_id: Option<String>,
    text: Option<String>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

#[derive(Debug, Serialize)]
struct Page {
    items: Vec<Item>,
    next_cursor: Option<String>,
}

#[derive(Debug, Serialize)]
struct Item {
    id: String,
    time: Option<Timestamp>,
    service: String,
    level: &'static str,
    name: String,
    data: String,
    trace_id: Option<String>,
    attributes: BTreeMap<String, String>,
}

pub(super) async fn get(
    State(app): State<App>,
    RawQuery(raw): RawQuery,
    filters: Result<Query<Filters>, QueryRejection>,
) -> Result<Response, Response> {
    check_utf8(raw.as_deref().unwrap_or_default()).map_err(ApiError::problem)?;
    let Query(filters) = filters.map_err(|error| ApiError::bad_request(error.body_text()).problem())?;
    let request = filters.into_request().map_err(ApiError::problem)?;
    let reply =
        app.logger.clone().query(request).await.map_err(|status| upstream::logger(&status).problem())?;
    let page = reply.into_inner();
    Ok(Json(Page {
        items: page.items.into_iter().map(Item::from).collect(),
        next_cursor: Some(page.next_cursor).filter(|cursor| !cursor.is_empty()),
    })
    .into_response())
}

/// Decoding puts U+FFFD in place of what is no UTF-8: the search would be for something that nobody asked for.
fn check_utf8(query: &str) -> Result<(), ApiError> {
    match percent_encoding::percent_decode_str(query).decode_utf8() {
        Ok(_) => Ok(()),
        Err(_) => Err(ApiError::bad_request("the query is not UTF-8 once its %-escapes are decoded")),
    }
}

impl Filters {
    fn into_request(self) -> Result<QueryRequest, ApiError> {
        let Self { service, level, trace_id, text, from, to, limit, cursor } = self;
        Ok(QueryRequest {
            service: service.unwrap_or_default(),
            level: level.as_deref().map(read_level).transpose()?.unwrap_or_default().into(),
            trace_id: trace_id.unwrap_or_default(),
            text: text.unwrap_or_default(),
            from: from.as_deref().map(|value| read_time("from", value)).transpose()?,
            to: to.as_deref().map(|value| read_time("to", value)).transpose()?,
            limit: limit.as_deref().map(read_limit).transpose()?.unwrap_or_default(),
            cursor: cursor.unwrap_or_default(),
        })
    }
}

fn read_level(value: &str) -> Result<Level, ApiError> {
    Level::from_str_name(&format!("LEVEL_{value}")).filter(|level| *level != Level::Unspecified).ok_or_else(
        || {
            ApiError::bad_request(format!(
                "level is `{value}`, but wants one of TRACE, DEBUG, INFO, WARNING, ERROR, FATAL"
            ))
        },
    )
}

fn read_time(name: &str, value: &str) -> Result<prost_types::Timestamp, ApiError> {
    let time: Timestamp = value.parse().map_err(|error| {
        ApiError::bad_request(format!(
            "{name} is `{value}`, but wants a time such as 2026-01-31T12:00:00Z: {error}"
        ))
    })?;
    Ok(prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() })
}

fn read_limit(value: &str) -> Result<u32, ApiError> {
    value.parse().ok().filter(|limit| (1..=1_000).contains(limit)).ok_or_else(|| {
        ApiError::bad_request(format!("limit is `{value}`, but wants a whole number from 1 to 1000"))
    })
}

impl From<Entry> for Item {
    fn from(entry: Entry) -> Self {
        let level = entry.level().as_str_name().trim_start_matches("LEVEL_");
        let Entry { id, time, service, level: _, name, data, trace_id, attributes } = entry;
        Self {
            id,
            time: time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok()),
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
    fn a_wrong_filter_is_refused_by_its_name() {
        let refused = |filters: Filters| filters.into_request().unwrap_err().message;
        for limit in ["0", "1001", "-1", "x", "1.5"] {
            assert!(
                refused(Filters { limit: Some(limit.into()), ..Filters::default() }).starts_with("limit is")
            );
        }
        for level in ["info", "UNSPECIFIED", "", "LOUD"] {
            assert!(
                refused(Filters { level: Some(level.into()), ..Filters::default() }).starts_with("level is")
            );
        }
        for time in ["yesterday", "2026-01-31", "+10000-01-01T00:00:00Z"] {
            assert!(
                refused(Filters { from: Some(time.into()), ..Filters::default() }).starts_with("from is")
            );
        }
    }

    #[test]
    fn a_query_that_is_no_utf_8_is_refused() {
        assert!(check_utf8("text=%ff%fe").unwrap_err().message.contains("UTF-8"));
        assert_eq!(check_utf8("text=caf%C3%A9&limit=5"), Ok(()));
    }

    #[test]
    fn filters_that_are_left_out_are_off() {
        assert_eq!(Filters::default().into_request().unwrap(), QueryRequest::default());
    }
}
