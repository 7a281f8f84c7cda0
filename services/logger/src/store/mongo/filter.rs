//! Translates queries to MongoDB filters.

use mongodb::bson::{Bson, DateTime, Document, doc};
use weft_values::time::RANGE_MS;

use crate::entry::{Place, Query};

/// The filter of a query, for documents after the given place.
///
/// A comparison matches only values of the same type. So bounds on both sort fields exclude most documents that are not entries,
/// also in an index.
pub(super) fn of(query: &Query, after: Option<&Place>) -> Document {
    let Query { service, level, trace_id, text, from_ms, default_range: _, to_ms, limit: _, after: _ } =
        query;
    let from = DateTime::from_millis(from_ms.unwrap_or(*RANGE_MS.start()));
    let to = DateTime::from_millis(to_ms.unwrap_or(*RANGE_MS.end() + 1));
    let mut filter = doc! { "time": { "$gte": from, "$lt": to }, "_id": { "$gte": "" } };
    if let Some(service) = service {
        filter.insert("service", service);
    }
    if let Some(level) = level {
        filter.insert("level", level.as_str());
    }
    if let Some(trace_id) = trace_id {
        filter.insert("trace_id", trace_id);
    }
    let mut all: Vec<Bson> = Vec::new();
    if let Some(text) = text {
        let part = literal(text);
        all.push(doc! { "$or": [{ "name": { "$regex": &part } }, { "data": { "$regex": &part } }] }.into());
    }
    if let Some(Place { time_ms, id }) = after {
        let time = DateTime::from_millis(*time_ms);
        // `$lte` is implied by the `$or`. The server can seek in an index by a bound, but not by an `$or`.
        filter.insert("time", doc! { "$gte": from, "$lt": to, "$lte": time });
        all.push(
            doc! { "$or": [{ "time": { "$lt": time } }, { "time": time, "_id": { "$lt": id } }] }.into(),
        );
    }
    if !all.is_empty() {
        filter.insert("$and", all);
    }
    filter
}

pub(super) fn received_before(before_ms: i64) -> Document {
    doc! { "created_at": { "$lt": DateTime::from_millis(before_ms) } }
}

/// A pattern that matches exactly this text, both for PCRE (MongoDB) and RE2 (FerretDB).
pub(super) fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            // A NUL would end the pattern in BSON.
            '\0' => pattern.push_str("\\x00"),
            c if c.is_ascii_punctuation() => pattern.extend(['\\', c]),
            c => pattern.push(c),
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_a_literal_text() {
        assert_eq!(literal("a.b*[ü] \0_"), r"a\.b\*\[ü\] \x00\_");
    }

    #[test]
    fn omits_filters_that_are_not_set() {
        let filter = of(&Query { limit: 5, ..Query::default() }, None);
        assert_eq!(filter.keys().collect::<Vec<_>>(), ["time", "_id"]);
    }
}
