//! Reads request bodies: one JSON value, bounded in size, depth and time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT};
use axum::http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use weft_runtime::budget::Exceeded;

use crate::in_flight::{self, MAX_BODY_BYTES};
use crate::reply::ApiError;

/// Bytes beyond the limit that are read and discarded. Otherwise a client that writes its whole body before it reads would get a
/// connection reset instead of the 413.
const DRAIN_LIMIT: usize = 64 << 20;
/// How long a body may take to arrive. The rest of a body that is too large has the same time again, so that the reply is 413
/// however slow the rest is.
const READ_TIMEOUT: Duration = Duration::from_secs(15);
/// Timeout for the rest of a body that was refused because too many bytes are in flight. That reply must come early.
const REFUSED_REST_TIMEOUT: Duration = Duration::from_secs(1);

/// Flattened into a struct, makes serde accept only objects. Otherwise serde would also accept an array of the field values.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Rest {}

/// Reads and parses the body of a request.
///
/// # Errors
/// 400 that says what is wrong and where, and those of [`bytes`].
pub(crate) async fn json<T: DeserializeOwned>(request: Request<Body>) -> Result<T, ApiError> {
    let (parts, body) = request.into_parts();
    read_json(&parts.headers, body).await.map(|(value, _)| value)
}

/// As [`json`], for a request already split into its parts. Also returns the size of the body in bytes.
///
/// # Errors
/// As [`json`].
pub(crate) async fn read_json<T: DeserializeOwned>(
    headers: &HeaderMap,
    body: Body,
) -> Result<(T, usize), ApiError> {
    let bytes = bytes(headers, body).await?;
    Ok((parse(&bytes)?, bytes.len()))
}

/// As [`json`], or the default of `T` when the body is empty.
///
/// # Errors
/// As [`json`].
pub(crate) async fn read_optional_json<T: DeserializeOwned + Default>(
    headers: &HeaderMap,
    body: Body,
) -> Result<T, ApiError> {
    let bytes = bytes(headers, body).await?;
    if bytes.trim_ascii().is_empty() {
        Ok(T::default())
    } else {
        Ok(parse::<Option<T>>(&bytes)?.unwrap_or_default())
    }
}

/// Reads the body without parsing it.
///
/// # Errors
/// 408 when the body takes too long, 413 when it is too large, 429 or 503 when too many bytes are in flight.
pub(crate) async fn bytes(headers: &HeaderMap, mut body: Body) -> Result<Vec<u8>, ApiError> {
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        let message = "the request body has a Content-Encoding: expected none";
        return Err(after_rest(
            body,
            ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message),
            READ_TIMEOUT,
        )
        .await);
    }
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    // With `Expect: 100-continue` the client has not sent the body yet: there is nothing to drain.
    if announced.is_some_and(|length| length > MAX_BODY_BYTES) && headers.contains_key(EXPECT) {
        return Err(too_large().closing());
    }
    let read = tokio::time::timeout(READ_TIMEOUT, read(announced, &mut body)).await;
    match read {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(Unread::TooLarge)) => Err(after_rest(body, too_large(), READ_TIMEOUT).await),
        Ok(Err(Unread::Refused(exceeded))) => {
            Err(after_rest(body, in_flight::refusal(exceeded), REFUSED_REST_TIMEOUT).await)
        }
        Ok(Err(Unread::Incomplete)) => Err(ApiError::bad_request(
            "the request body is incomplete: its encoding is invalid, or the connection closed",
        )
        .closing()),
        Err(_) => {
            let message = "timed out: the request body did not arrive within 15 seconds";
            Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, message).closing())
        }
    }
}

/// Why a body was not read to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unread {
    TooLarge,
    /// Too many bytes are in flight.
    Refused(Exceeded),
    /// The connection closed before the end.
    Incomplete,
}

async fn read(announced: Option<usize>, body: &mut Body) -> Result<Vec<u8>, Unread> {
    // Grows with the bytes that arrive: memory is not reserved for an announced length.
    let mut bytes = Vec::new();
    while let Some(chunk) = next_chunk(body).await? {
        let needed = bytes.len() + chunk.len();
        if needed > MAX_BODY_BYTES {
            return Err(Unread::TooLarge);
        }
        if needed > bytes.capacity() {
            let max = announced.filter(|length| *length >= needed).unwrap_or(MAX_BODY_BYTES);
            bytes.reserve_exact((2 * needed).min(max) - bytes.len());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

async fn next_chunk(body: &mut Body) -> Result<Option<Bytes>, Unread> {
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| in_flight::exceeded(&error).map_or(Unread::Incomplete, Unread::Refused))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Reads and discards a bounded rest of the body, then returns the error. If the rest is longer, the error closes the connection,
/// because the connection can't serve another request.
async fn after_rest(body: Body, error: ApiError, within: Duration) -> ApiError {
    match tokio::time::timeout(within, reads_to_end(body)).await {
        Ok(true) => error,
        Ok(false) | Err(_) => error.closing(),
    }
}

async fn reads_to_end(mut body: Body) -> bool {
    let mut drained = 0;
    loop {
        match next_chunk(&mut body).await {
            Ok(None) => return true,
            Ok(Some(chunk)) if drained + chunk.len() <= DRAIN_LIMIT => drained += chunk.len(),
            Ok(Some(_)) | Err(_) => return false,
        }
    }
}

fn too_large() -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "request body too large: expected at most 1 MiB (1048576 bytes)",
    )
}

/// Parses one JSON value with nothing after it. serde_json itself rejects more than 128 levels.
///
/// # Errors
/// 400 that says what is wrong and where.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        ApiError::bad_request(format!("invalid request body: not UTF-8 at byte {}", error.valid_up_to() + 1))
    })?;
    if text.trim().is_empty() {
        return Err(ApiError::bad_request("invalid request body: it is empty; expected a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| describe(&error, text))?;
    json.end().map_err(|_| ApiError::bad_request("invalid request body: expected a single JSON value"))?;
    Ok(value)
}

fn describe(error: &serde_path_to_error::Error<serde_json::Error>, text: &str) -> ApiError {
    let (path, inner) = (error.path().to_string(), error.inner());
    // For a field that is one of several words, serde_json calls another type a syntax error. `Value` is used because `IgnoredAny`
    // accepts invalid escapes, numbers and depths.
    let is_word = inner.is_syntax() && serde_json::from_str::<Value>(text).is_ok();
    if is_word {
        ApiError::bad_request(format!("{path}: invalid type: expected a string"))
    } else if inner.is_data() && path != "." {
        ApiError::bad_request(format!("{path}: {inner}"))
    } else if inner.is_eof() {
        ApiError::bad_request(format!("invalid request body: cut short: {inner}"))
    } else {
        ApiError::bad_request(format!("invalid request body: {inner}"))
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(expecting = "an object with a name")]
    struct Named {
        name: String,
        #[serde(flatten)]
        _rest: Rest,
    }

    fn message(body: &[u8]) -> String {
        let error = parse::<Named>(body).unwrap_err();
        assert_eq!(error.status, StatusCode::BAD_REQUEST);
        error.message.into_owned()
    }

    #[test]
    fn an_invalid_body_is_400_that_says_what_is_wrong_and_where() {
        assert!(message(b"").contains("empty"));
        assert!(message(b" \n").contains("empty"));
        assert!(message(br#"{"name":"x"#).contains("cut short"));
        assert!(message(br#"{"name":"x"}{"name":"x"}"#).contains("single JSON value"));
        assert!(message(b"{\"name\":\"\xff\"}").contains("byte 10"));
        assert!(message(br#"{"name":5}"#).starts_with("name: invalid type: integer `5`"));
        assert!(message(br#"{"name":null}"#).starts_with("name: "));
        assert!(message(b"null").contains("expected an object with a name"));
        assert!(message(br#"["x"]"#).contains("expected an object with a name"));
        assert!(message(br#"{"name":"a","name":"b"}"#).contains("duplicate field"));
        assert!(message("[".repeat(50_000).as_bytes()).contains("expected an object"));
        assert!(message(format!("{{\"name\":{}", "[".repeat(50_000)).as_bytes()).starts_with("name: "));
    }

    #[test]
    fn a_word_of_another_type_names_its_field() {
        #[derive(Debug, Deserialize)]
        #[serde(rename_all = "UPPERCASE")]
        enum Word {
            Info,
        }
        #[derive(Debug, Deserialize)]
        struct Event {
            #[serde(rename = "severity")]
            _severity: Word,
        }
        for value in ["null", "5", "[]", "{}", "true", "-1.5"] {
            let error = parse::<Event>(format!(r#"{{"severity":{value}}}"#).as_bytes()).unwrap_err();
            assert_eq!(error.message, "severity: invalid type: expected a string", "{value}");
        }
        let deep = format!(r#"{{"severity":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        for invalid in [r#"{"severity":x}"#, r#"{"severity":"\ud800"}"#, r#"{"severity":"INFO","more":x}"#] {
            let error = parse::<Event>(invalid.as_bytes()).unwrap_err();
            assert!(error.message.starts_with("invalid request body: "), "{error:?}");
        }
        for data in ["1e999".to_owned(), r#""\ud800""#.to_owned(), deep] {
            let error = parse::<serde_json::Map<String, Value>>(format!(r#"{{"data":{data}}}"#).as_bytes());
            let message = error.unwrap_err().message;
            assert!(message.starts_with("invalid request body: "), "{message}");
        }
        assert!(matches!(parse::<Event>(br#"{"severity":"INFO"}"#).unwrap()._severity, Word::Info));
    }

    #[tokio::test]
    async fn refuses_a_compressed_body() {
        let headers = HeaderMap::from_iter([(CONTENT_ENCODING, "gzip".parse().unwrap())]);
        let error = read_all(Body::from("{}"), headers).await.unwrap_err();
        assert_eq!(error.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }

    #[test]
    fn accepts_an_object_surrounded_by_white_space() {
        assert_eq!(parse::<Named>(b" {\"name\":\"x\",\"more\":1}\n").unwrap().name, "x");
    }

    async fn read_all(body: Body, headers: HeaderMap) -> Result<usize, ApiError> {
        bytes(&headers, body).await.map(|bytes| bytes.len())
    }

    #[tokio::test]
    async fn more_than_1_mib_is_413_after_the_rest_was_read() {
        assert_eq!(
            read_all(Body::from(vec![b'x'; MAX_BODY_BYTES]), HeaderMap::new()).await,
            Ok(MAX_BODY_BYTES)
        );
        let error = read_all(Body::from(vec![b'x'; MAX_BODY_BYTES + 1]), HeaderMap::new()).await.unwrap_err();
        assert_eq!(error.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(!error.close, "all of it was read, so the connection stays open");
    }

    #[tokio::test(start_paused = true)]
    async fn too_large_a_body_is_413_even_if_the_rest_is_slow() {
        let first = Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; MAX_BODY_BYTES + 1]));
        let never = futures::stream::iter([first]).chain(futures::stream::pending());
        let error = read_all(Body::from_stream(never), HeaderMap::new()).await.unwrap_err();
        assert_eq!((error.status, error.close), (StatusCode::PAYLOAD_TOO_LARGE, true));
    }

    #[tokio::test]
    async fn refuses_a_too_large_body_before_100_continue() {
        let headers = HeaderMap::from_iter([
            (CONTENT_LENGTH, "2000000".parse().unwrap()),
            (EXPECT, "100-continue".parse().unwrap()),
        ]);
        let never = Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>());
        assert!(read_all(never, headers).await.unwrap_err().close);
    }
}
