//! Encodes entries as BSON documents.
//!
//! `_id`, `name`, `data`, `created_at` and `updated_at` are the original's fields. Attributes are an array of `{k, v}`, because not
//! every server accepts keys such as `http.method` as field names, and because one index can serve all of them.

use mongodb::bson::raw::{RawArrayBuf, cstr};
use mongodb::bson::{DateTime, RawDocument, RawDocumentBuf};
use uuid::Uuid;

use crate::cursor;
use crate::entry::{Entry, Place, UnknownLevel};

/// Why a stored document is not a valid entry.
#[derive(Debug, thiserror::Error)]
pub(super) enum DecodeError {
    #[error("a field is missing or has the wrong type: {0}")]
    Field(#[from] mongodb::bson::error::Error),
    #[error("the id is not a UUID: {0}")]
    Id(#[from] uuid::Error),
    #[error(transparent)]
    Level(#[from] UnknownLevel),
}

pub(super) fn encode(entry: &Entry) -> RawDocumentBuf {
    let mut id = [0; uuid::fmt::Hyphenated::LENGTH];
    let received = DateTime::from_millis(entry.received_ms);
    let mut document = RawDocumentBuf::new();
    document.append(cstr!("_id"), &*entry.id.hyphenated().encode_lower(&mut id));
    document.append(cstr!("name"), entry.name.as_str());
    document.append(cstr!("data"), entry.data.as_str());
    document.append(cstr!("service"), entry.service.as_str());
    document.append(cstr!("level"), entry.level.as_str());
    document.append(cstr!("time"), DateTime::from_millis(entry.time_ms));
    if let Some(trace_id) = &entry.trace_id {
        document.append(cstr!("trace_id"), trace_id.as_str());
    }
    if !entry.attributes.is_empty() {
        document.append(cstr!("attributes"), attributes(&entry.attributes));
    }
    document.append(cstr!("created_at"), received);
    document.append(cstr!("updated_at"), received);
    document
}

fn attributes(pairs: &[(String, String)]) -> RawArrayBuf {
    let mut array = RawArrayBuf::new();
    for (key, value) in pairs {
        let mut pair = RawDocumentBuf::new();
        pair.append(cstr!("k"), key.as_str());
        pair.append(cstr!("v"), value.as_str());
        array.push(pair);
    }
    array
}

/// The position of any document in the order of a search. `None` if a cursor can't represent it.
pub(super) fn place(document: &RawDocument) -> Option<Place> {
    let time_ms = document.get_datetime("time").ok()?.timestamp_millis();
    let id = document.get_str("_id").ok().filter(|id| id.len() <= cursor::ID_BYTES)?;
    Some(Place { time_ms, id: id.to_owned() })
}

pub(super) fn decode(document: &RawDocument) -> Result<Entry, DecodeError> {
    let text = |key: &str| document.get_str(key).map(str::to_owned);
    let optional = |key: &str| document.get(key).map(|value| value?.as_str().map(str::to_owned));
    Ok(Entry {
        id: Uuid::try_parse(document.get_str("_id")?)?,
        time_ms: document.get_datetime("time")?.timestamp_millis(),
        received_ms: document.get_datetime("created_at")?.timestamp_millis(),
        service: text("service")?,
        level: document.get_str("level")?.parse()?,
        name: text("name")?,
        data: text("data")?,
        trace_id: optional("trace_id")?,
        attributes: pairs(document)?,
    })
}

/// Whether both are entries with the same content.
pub(super) fn same_content(one: &RawDocument, other: &RawDocument) -> bool {
    match (decode(one), decode(other)) {
        (Ok(one), Ok(other)) => one.same_content(&other),
        _ => false,
    }
}

fn pairs(document: &RawDocument) -> Result<Vec<(String, String)>, mongodb::bson::error::Error> {
    let Some(array) = document.get("attributes")?.and_then(|value| value.as_array()) else {
        return Ok(Vec::new());
    };
    array
        .into_iter()
        .filter_map(|item| item.map(|item| item.as_document()).transpose())
        .map(|pair| pair.and_then(|pair| Ok((pair.get_str("k")?.to_owned(), pair.get_str("v")?.to_owned()))))
        .collect()
}

#[cfg(test)]
mod tests {
    use weft_values::time::RANGE_MS;

    use super::*;
    use crate::entry::Level;

    #[test]
    fn an_entry_round_trips() {
        let mut entry = Entry {
            id: Uuid::from_u128(7),
            time_ms: *RANGE_MS.start(),
            received_ms: 5,
            service: "shop".into(),
            level: Level::Fatal,
            name: "a\0b\u{7f}\n".into(),
            data: "ünïcödé \u{10ffff} $.".into(),
            trace_id: None,
            attributes: Vec::new(),
        };
        assert_eq!(decode(&encode(&entry)).unwrap(), entry);
        entry.trace_id = Some("0af7651916cd43dd8448eb211c80319c".into());
        entry.attributes = vec![("$a.b\0".into(), String::new()), ("http.method".into(), "GET".into())];
        assert_eq!(decode(&encode(&entry)).unwrap(), entry);
    }

    #[test]
    fn content_excludes_time_and_trace() {
        let entry = crate::testing::entry(1);
        let same = |other: Entry| same_content(&encode(&entry), &encode(&other));
        let later = Entry { time_ms: 5, received_ms: 6, trace_id: Some("a".repeat(32)), ..entry.clone() };
        assert!(same(later));
        assert!(!same(Entry { name: "other".into(), ..entry.clone() }));
        assert!(!same(Entry { data: "other".into(), ..entry.clone() }));
        assert!(!same(Entry { service: "other".into(), ..entry.clone() }));
        assert!(!same(Entry { level: Level::Error, ..entry.clone() }));
        assert!(!same(Entry { attributes: vec![("k".into(), "v".into())], ..entry.clone() }));
        assert!(!same_content(&encode(&entry), &RawDocumentBuf::new()));
    }

    #[test]
    fn rejects_a_document_of_the_original() {
        let mut document = RawDocumentBuf::new();
        document.append(cstr!("_id"), mongodb::bson::oid::ObjectId::new());
        document.append(cstr!("name"), "event");
        assert!(decode(&document).is_err());
    }
}
