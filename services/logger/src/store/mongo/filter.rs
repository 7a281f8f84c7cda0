//! A query as a MongoDB filter.

use mongodb::bson::{Bson, DateTime, Document, doc};
use weft_values::time::RANGE_MS;

use crate::entry::{Place, Query};

/// The filter of a query, from this place on.
///
/// A comparison matches only values of its own type. So bounds on both fields of the order leave out most documents that are not
/// entries, and an index on them does too.
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
        // The first bound is implied by the rest. The server seeks in an index by it, but not by an `$or`.
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

/// Filters that together match these ids. A few are looked up one by one: FerretDB has an index for one id, and reads the whole
/// collection for several at once.
pub(super) fn of_ids(ids: Vec<&str>) -> Vec<Document> {
    const ONE_BY_ONE: usize = 64;
    match ids.len() {
        0..=ONE_BY_ONE => ids.into_iter().map(|id| doc! { "_id": id }).collect(),
        _ => vec![doc! { "_id": { "$in": ids } }],
    }
}

/// A pattern that matches exactly this text, for PCRE (MongoDB) and RE2 (FerretDB) alike.
pub(super) fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            // BSON ends a pattern at NUL.
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
    fn a_text_is_searched_for_as_it_stands() {
        assert_eq!(literal("a.b*[ü] \0_"), r"a\.b\*\[ü\] \x00\_");
    }

    #[test]
    fn few_ids_are_looked_up_one_by_one_and_many_at_once() {
        assert!(of_ids(vec![]).is_empty());
        assert_eq!(of_ids(vec!["a", "b"]), [doc! { "_id": "a" }, doc! { "_id": "b" }]);
        assert_eq!(of_ids(vec!["a"; 65]).len(), 1);
    }

    #[test]
    fn filters_that_are_off_are_not_there() {
        let filter = of(&Query { limit: 5, ..Query::default() }, None);
        assert_eq!(filter.keys().collect::<Vec<_>>(), ["time", "_id"]);
    }
}
