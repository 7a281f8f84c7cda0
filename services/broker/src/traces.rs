//! Reads a trace from Jaeger's query API (`/api/v3`, OTLP as JSON) and converts it to the API's format, which the console draws.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{self as otlp, ResourceSpans};
use reqwest::{Client, StatusCode, Url};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use weft_runtime::budget::Exceeded;

use crate::in_flight::Share;

const TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum size of a reply from Jaeger.
const MAX_REPLY_BYTES: usize = 16 << 20;

/// Address of Jaeger's query API: scheme, host and port.
#[derive(Debug, Clone)]
pub(crate) struct JaegerUrl(Url);

impl FromStr for JaegerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let url: Url = text.parse().map_err(|error| format!("not a URL: {error}"))?;
        let bare = url.path() == "/" && url.query().is_none() && url.username().is_empty();
        if url.scheme() != "http" || url.host_str().is_none() || !bare {
            return Err("not of the form http://host:port".to_owned());
        }
        Ok(Self(url))
    }
}

/// A client of Jaeger.
#[derive(Debug)]
pub(crate) struct Jaeger {
    url: Url,
    http: Client,
}

/// Why reading a trace failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TraceError {
    #[error("failed to call Jaeger")]
    Http(#[from] reqwest::Error),
    #[error("Jaeger answered {0}")]
    Status(StatusCode),
    #[error("the trace is larger than {} MiB", MAX_REPLY_BYTES >> 20)]
    TooLarge,
    #[error("too many bytes are in flight")]
    NoRoom(#[from] Exceeded),
    #[error("failed to parse Jaeger's reply")]
    Shape(#[from] serde_json::Error),
}

/// The id of a trace: 32 lower-case hexadecimal digits. Nothing else gets into the path of a call to Jaeger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceId(String);

impl TraceId {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let hexadecimal = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (text.len() == 32 && hexadecimal).then(|| Self(text.to_owned()))
    }

    /// True if all digits are 0, which is invalid (W3C Trace Context). Jaeger would answer with an error.
    pub(crate) fn is_invalid(&self) -> bool {
        self.0.bytes().all(|byte| byte == b'0')
    }
}

/// A trace.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Trace {
    #[schema(pattern = "^[0-9a-f]{32}$")]
    trace_id: String,
    /// The spans that Jaeger has so far, ordered by start.
    spans: Vec<Span>,
}

/// A span of a trace.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Span {
    span_id: String,
    /// Null for the root span.
    #[schema(required = true)]
    parent_span_id: Option<String>,
    service: String,
    name: String,
    kind: SpanKind,
    /// With a precision of microseconds.
    #[schema(format = DateTime)]
    start_time: String,
    /// Offset from the start of the trace's first span.
    #[schema(minimum = 0)]
    start_offset_us: u64,
    #[schema(minimum = 0)]
    duration_us: u64,
    error: bool,
    #[schema(additional_properties, value_type = BTreeMap<String, Value>)]
    attributes: BTreeMap<String, Value>,
}

/// OpenTelemetry's span kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SpanKind {
    Internal,
    Server,
    Client,
    Producer,
    Consumer,
}

impl Jaeger {
    /// # Errors
    /// When creating the HTTP client fails.
    pub(crate) fn new(JaegerUrl(url): JaegerUrl) -> Result<Self, reqwest::Error> {
        // Redirects and proxies from the environment could lead anywhere.
        let http = Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).no_proxy();
        Ok(Self { url, http: http.build()? })
    }

    /// The spans that Jaeger has of a trace; `None` if Jaeger does not have the trace.
    ///
    /// # Errors
    /// When Jaeger can't be reached in time, the reply is invalid or too large, or too many bytes are in flight.
    pub(crate) async fn trace(&self, id: &TraceId, share: &Share) -> Result<Option<Trace>, TraceError> {
        if id.is_invalid() {
            return Ok(None);
        }
        let mut url = self.url.clone();
        url.set_path(&format!("/api/v3/traces/{}", id.0));
        let mut response = self.http.get(url).send().await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            other => return Err(TraceError::Status(other)),
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if bytes.len() + chunk.len() > MAX_REPLY_BYTES {
                return Err(TraceError::TooLarge);
            }
            share.grow(chunk.len())?;
            bytes.extend_from_slice(&chunk);
        }
        Ok(read(id, serde_json::from_slice(&bytes)?))
    }
}

#[derive(Deserialize)]
struct Reply {
    result: Found,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    #[serde(default)]
    resource_spans: Vec<ResourceSpans>,
}

fn read(id: &TraceId, reply: Reply) -> Option<Trace> {
    let mut found = Vec::new();
    for ResourceSpans { resource, scope_spans, .. } in reply.result.resource_spans {
        let mut resource = attributes(resource.unwrap_or_default().attributes);
        let service = match resource.remove("service.name") {
            Some(Value::String(name)) => name,
            _ => "unknown".to_owned(),
        };
        let spans = scope_spans.into_iter().flat_map(|scope| scope.spans);
        found.extend(spans.map(|span| (service.clone(), span)));
    }
    found.sort_by_key(|(_, span)| span.start_time_unix_nano);
    let first = found.first()?.1.start_time_unix_nano;
    let spans = found.into_iter().map(|(service, span)| read_span(first, service, span)).collect();
    Some(Trace { trace_id: id.0.clone(), spans })
}

fn read_span(first: u64, service: String, span: otlp::Span) -> Span {
    let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
    let time = Timestamp::from_nanosecond(i128::from(start)).unwrap_or_default();
    Span {
        span_id: hexadecimal(&span.span_id),
        parent_span_id: (!span.parent_span_id.is_empty()).then(|| hexadecimal(&span.parent_span_id)),
        service,
        kind: match span.kind() {
            otlp::span::SpanKind::Server => SpanKind::Server,
            otlp::span::SpanKind::Client => SpanKind::Client,
            otlp::span::SpanKind::Producer => SpanKind::Producer,
            otlp::span::SpanKind::Consumer => SpanKind::Consumer,
            otlp::span::SpanKind::Internal | otlp::span::SpanKind::Unspecified => SpanKind::Internal,
        },
        start_time: format!("{time:.6}"),
        start_offset_us: start.saturating_sub(first) / 1_000,
        duration_us: end.saturating_sub(start) / 1_000,
        error: span.status.is_some_and(|status| status.code() == otlp::status::StatusCode::Error),
        name: span.name,
        attributes: attributes(span.attributes),
    }
}

fn hexadecimal(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, Value> {
    pairs
        .into_iter()
        .map(|KeyValue { key, value, .. }| (key, plain(value.and_then(|value| value.value))))
        .collect()
}

/// Converts an OTLP value to plain JSON: `{"intValue": "5"}` to `5`.
fn plain(value: Option<any_value::Value>) -> Value {
    match value {
        Some(any_value::Value::StringValue(text)) => text.into(),
        Some(any_value::Value::BoolValue(yes)) => yes.into(),
        Some(any_value::Value::IntValue(number)) => number.into(),
        Some(any_value::Value::DoubleValue(number)) => number.into(),
        Some(any_value::Value::ArrayValue(array)) => {
            array.values.into_iter().map(|value| plain(value.value)).collect()
        }
        Some(any_value::Value::KvlistValue(list)) => {
            Value::Object(attributes(list.values).into_iter().collect())
        }
        Some(any_value::Value::BytesValue(bytes)) => STANDARD.encode(bytes).into(),
        Some(any_value::Value::StringValueStrindex(_)) | None => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "0af7651916cd43dd8448eb211c80319c";

    fn trace(answer: Value) -> Option<Value> {
        let trace = read(&TraceId::parse(ID).unwrap(), serde_json::from_value(answer).unwrap());
        trace.map(|trace| serde_json::to_value(trace).unwrap())
    }

    #[test]
    fn orders_spans_by_start_with_offsets_and_plain_attributes() {
        let answer = json!({"result": {"resourceSpans": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "broker"}}]},
            "scopeSpans": [{"spans": [
                {"spanId": "bb", "parentSpanId": "aa", "name": "call", "kind": 3, "startTimeUnixNano": "1000002000",
                 "endTimeUnixNano": "1000005000", "status": {"code": 2}},
                {"spanId": "aa", "name": "POST /handle", "kind": 2, "startTimeUnixNano": "1000000000",
                 "endTimeUnixNano": "1000009000",
                 "attributes": [{"key": "n", "value": {"intValue": "5"}},
                                {"key": "l", "value": {"arrayValue": {"values": [{"boolValue": true}]}}}]},
            ]}],
        }]}});
        let expected = json!({"trace_id": ID, "spans": [
            {"span_id": "aa", "parent_span_id": null, "service": "broker", "name": "POST /handle", "kind": "server",
             "start_time": "1970-01-01T00:00:01.000000Z", "start_offset_us": 0, "duration_us": 9, "error": false,
             "attributes": {"n": 5, "l": [true]}},
            {"span_id": "bb", "parent_span_id": "aa", "service": "broker", "name": "call", "kind": "client",
             "start_time": "1970-01-01T00:00:01.000002Z", "start_offset_us": 2, "duration_us": 3, "error": true,
             "attributes": {}},
        ]});
        assert_eq!(trace(answer).unwrap(), expected);
    }

    #[test]
    fn a_reply_without_spans_is_not_found() {
        assert_eq!(trace(json!({"result": {"resourceSpans": []}})), None);
        assert_eq!(trace(json!({"result": {}})), None);
    }

    #[test]
    fn an_id_has_32_hexadecimal_digits() {
        assert!(TraceId::parse(ID).is_some());
        for invalid in [
            "",
            "x",
            "../../api/services",
            &ID[1..],
            &ID.to_uppercase(),
            &format!("{}/", &ID[1..]),
            &format!("{ID}0"),
        ] {
            assert_eq!(TraceId::parse(invalid), None, "{invalid} was accepted");
        }
    }

    #[test]
    fn rejects_an_address_with_path_or_password() {
        assert!("http://jaeger:16686".parse::<JaegerUrl>().is_ok());
        for invalid in
            ["jaeger", "https://jaeger", "file:///etc/passwd", "http://u@jaeger", "http://jaeger/path"]
        {
            assert!(invalid.parse::<JaegerUrl>().is_err(), "{invalid} was accepted");
        }
    }
}
