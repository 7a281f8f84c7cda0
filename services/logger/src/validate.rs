//! Validates requests. Everything is checked before anything is written; an error names the field.
//!
//! Control characters and NUL are allowed in texts: escaping them is up to the code that displays an entry.

use std::collections::HashMap;
use std::fmt::{self, Display};

use prost_types::Timestamp;
use uuid::Uuid;
use weft_proto::weft::log::v1 as pb;
use weft_values::{id, text, time};

use crate::cursor;
use crate::entry::{Entry, Level, Query};

pub(crate) const TEXT_CHARACTERS: usize = 256;
const DATA_BYTES: usize = 1 << 20;
const ATTRIBUTES: usize = 64;
const KEY_BYTES: usize = 128;
const VALUE_BYTES: usize = 4 << 10;
/// Time range of a search for a text without other filters, because it reads every entry in its time range.
const DEFAULT_RANGE_MS: i64 = 24 * 3_600 * 1_000;
const MAX_ENTRIES: usize = 1_000;
const MAX_LIMIT: u32 = 1_000;
const DEFAULT_LIMIT: u32 = 100;
const UNKNOWN_SERVICE: &str = "unknown";

/// An invalid field of a request.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// The field, such as `entries[3].time`.
    pub field: String,
    /// What is wrong, and what was expected.
    pub reason: String,
}

/// The position of an entry in its request.
#[derive(Debug, Clone, Copy)]
enum Place {
    Single,
    Many(usize),
}

impl Place {
    fn invalid(self, field: &str, reason: impl Into<String>) -> Invalid {
        Invalid { field: format!("{self}{field}"), reason: reason.into() }
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single => f.write_str("entry"),
            Self::Many(index) => write!(f, "entries[{index}]"),
        }
    }
}

/// Metadata of a call.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// When it arrived, in milliseconds since 1970.
    pub now_ms: i64,
    /// Id of the call's trace.
    pub trace_id: Option<String>,
}

/// Validates the entry of a `Write`.
///
/// # Errors
/// When a field is invalid. The error names it.
pub fn single(request: pb::WriteRequest, received: &Received) -> Result<Entry, Invalid> {
    let entry = request.entry.ok_or_else(|| Place::Single.invalid("", "is missing"))?;
    check(entry, Place::Single, received)
}

/// Validates the entries of a `WriteMany`.
///
/// # Errors
/// When a field is invalid. The error names the first one.
pub fn many(
    request: pb::WriteManyRequest,
    received: &Received,
) -> Result<(Vec<Entry>, Vec<String>), Invalid> {
    let invalid = |reason: String| Invalid { field: "entries".to_owned(), reason };
    match request.entries.len() {
        0 => return Err(invalid(format!("is empty; expected 1 to {MAX_ENTRIES} entries"))),
        count if count > MAX_ENTRIES => {
            return Err(invalid(format!("has {count} entries; expected 1 to {MAX_ENTRIES}")));
        }
        _ => {}
    }
    if ![0, request.entries.len()].contains(&request.traceparents.len()) {
        let (traces, entries) = (request.traceparents.len(), request.entries.len());
        let reason = format!("has {traces} items; expected one for each entry ({entries}), or none");
        return Err(Invalid { field: "traceparents".to_owned(), reason });
    }
    let mut seen = HashMap::with_capacity(request.entries.len());
    let checked = request.entries.into_iter().enumerate().map(|(index, entry)| {
        let entry = check(entry, Place::Many(index), received)?;
        match seen.insert(entry.id, index) {
            Some(first) => {
                Err(Place::Many(index).invalid(".id", format!("is the same as in entries[{first}]")))
            }
            None => Ok(entry),
        }
    });
    Ok((checked.collect::<Result<_, _>>()?, request.traceparents))
}

/// Validates the entry of the original's `WriteLog`, which has no id, service, level or time.
///
/// # Errors
/// When a field is invalid. The error names it.
pub fn original(log: Option<weft_proto::logs::Log>, id: Uuid, received: &Received) -> Result<Entry, Invalid> {
    let invalid = |field: &str, reason: String| Invalid { field: format!("logEntry{field}"), reason };
    let log = log.ok_or_else(|| invalid("", "is missing".to_owned()))?;
    text::entry_name(&log.name).map_err(|error| invalid(".name", error.to_string()))?;
    data(&log.data).map_err(|reason| invalid(".data", reason))?;
    Ok(Entry {
        id,
        time_ms: received.now_ms,
        received_ms: received.now_ms,
        service: UNKNOWN_SERVICE.to_owned(),
        level: Level::Info,
        name: log.name,
        data: log.data,
        trace_id: received.trace_id.clone(),
        attributes: Vec::new(),
    })
}

fn check(entry: pb::Entry, place: Place, received: &Received) -> Result<Entry, Invalid> {
    let pb::Entry { id, time, service, level, name: called, data: rest, trace_id, attributes } = entry;
    let checked = Entry {
        id: id::parse(&id).map_err(|error| place.invalid(".id", error.reason()))?,
        time_ms: match time {
            Some(time) => time::to_ms(&time).map_err(|error| place.invalid(".time", error.reason()))?,
            None => received.now_ms,
        },
        received_ms: received.now_ms,
        service: self::service(service).map_err(|reason| place.invalid(".service", reason))?,
        level: self::level(level).map_err(|reason| place.invalid(".level", reason))?.unwrap_or(Level::Info),
        trace_id: trace(trace_id)
            .map_err(|reason| place.invalid(".trace_id", reason))?
            .or_else(|| received.trace_id.clone()),
        attributes: self::attributes(attributes).map_err(|reason| place.invalid(".attributes", reason))?,
        name: called,
        data: rest,
    };
    text::entry_name(&checked.name).map_err(|error| place.invalid(".name", error.reason()))?;
    data(&checked.data).map_err(|reason| place.invalid(".data", reason))?;
    Ok(checked)
}

/// Validates a `Query`.
///
/// # Errors
/// When a field is invalid. The error names it.
pub fn query(request: pb::QueryRequest, now_ms: i64) -> Result<Query, Invalid> {
    let invalid = |field: &'static str| move |reason: String| Invalid { field: field.to_owned(), reason };
    let pb::QueryRequest { service, level, trace_id, text, from, to, limit, cursor } = request;
    let moment = |time: Option<Timestamp>, field| {
        time.map(|time| time::to_ms(&time).map_err(|error| invalid(field)(error.to_string()))).transpose()
    };
    let mut query = Query {
        service: named(service).map_err(invalid("service"))?,
        level: self::level(level).map_err(invalid("level"))?,
        trace_id: trace(trace_id).map_err(invalid("trace_id"))?,
        text: filter(text, TEXT_CHARACTERS).map_err(invalid("text"))?,
        from_ms: moment(from, "from")?,
        default_range: false,
        to_ms: moment(to, "to")?,
        limit: self::limit(limit).map_err(invalid("limit"))?,
        after: match cursor.as_str() {
            "" => None,
            text => Some(cursor::decode(text).ok_or_else(|| {
                invalid("cursor")("is invalid; expected next_cursor of the previous page".to_owned())
            })?),
        },
    };
    if query.text.is_some() && query.service.is_none() && query.trace_id.is_none() && query.from_ms.is_none()
    {
        let from = query.to_ms.unwrap_or(now_ms).saturating_sub(DEFAULT_RANGE_MS);
        query.from_ms = Some(from.max(*time::RANGE_MS.start()));
        query.default_range = true;
    }
    match (query.from_ms, query.to_ms) {
        (Some(from), Some(to)) if from > to => Err(invalid("from")("is after `to`".to_owned())),
        _ => Ok(query),
    }
}

fn service(text: String) -> Result<String, String> {
    Ok(named(text)?.unwrap_or_else(|| UNKNOWN_SERVICE.to_owned()))
}

fn named(text: String) -> Result<Option<String>, String> {
    text::service_name(&text).map_err(|error| error.to_string())?;
    Ok((!text.is_empty()).then_some(text))
}

fn level(number: i32) -> Result<Option<Level>, String> {
    match pb::Level::try_from(number) {
        Ok(pb::Level::Unspecified) => Ok(None),
        Ok(pb::Level::Trace) => Ok(Some(Level::Trace)),
        Ok(pb::Level::Debug) => Ok(Some(Level::Debug)),
        Ok(pb::Level::Info) => Ok(Some(Level::Info)),
        Ok(pb::Level::Warning) => Ok(Some(Level::Warning)),
        Ok(pb::Level::Error) => Ok(Some(Level::Error)),
        Ok(pb::Level::Fatal) => Ok(Some(Level::Fatal)),
        Err(_) => Err(format!("unknown level {number}; expected 0 (unspecified) to 6 (FATAL)")),
    }
}

fn data(text: &str) -> Result<(), String> {
    if text.len() > DATA_BYTES {
        return Err(format!("has {} bytes; expected at most {DATA_BYTES}", text.len()));
    }
    Ok(())
}

pub(crate) fn trace(text: String) -> Result<Option<String>, String> {
    let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    match text.as_str() {
        "" => Ok(None),
        id if id.len() == 32 && id.bytes().all(digit) && id.bytes().any(|b| b != b'0') => Ok(Some(text)),
        _ => Err("invalid trace id; expected 32 lower-case hexadecimal digits, not all 0".to_owned()),
    }
}

fn attributes(attributes: HashMap<String, String>) -> Result<Vec<(String, String)>, String> {
    if attributes.len() > ATTRIBUTES {
        return Err(format!("has {} attributes; expected at most {ATTRIBUTES}", attributes.len()));
    }
    for (key, value) in &attributes {
        if key.is_empty() || key.len() > KEY_BYTES {
            return Err(format!("has a key of {} bytes; expected 1 to {KEY_BYTES}", key.len()));
        }
        if value.len() > VALUE_BYTES {
            return Err(format!(
                "has a value of {} bytes at key {key:?}; expected at most {VALUE_BYTES}",
                value.len()
            ));
        }
    }
    let mut pairs: Vec<_> = attributes.into_iter().collect();
    pairs.sort_unstable();
    Ok(pairs)
}

pub(crate) fn filter(text: String, max_characters: usize) -> Result<Option<String>, String> {
    let characters = text.chars().count();
    if characters > max_characters {
        return Err(format!("has {characters} characters; expected at most {max_characters}"));
    }
    Ok((!text.is_empty()).then_some(text))
}

pub(crate) fn limit(limit: u32) -> Result<usize, String> {
    match limit {
        0 => Ok(DEFAULT_LIMIT as usize),
        1..=MAX_LIMIT => Ok(limit as usize),
        _ => Err(format!("is {limit}; expected 1 to {MAX_LIMIT}")),
    }
}

#[cfg(test)]
mod tests;
