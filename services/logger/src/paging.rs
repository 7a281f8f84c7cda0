//! Collects pages that fit into a reply.

use std::ops::ControlFlow;

use crate::entry::{Entry, Page, Place};

/// Maximum size of a page's entries. Keeps the reply below 4 MiB, the default limit of gRPC clients. A single entry always fits.
const MAX_BYTES: usize = 2 << 20;

/// Collects a page, document by document.
#[derive(Debug)]
pub struct Builder {
    limit: usize,
    bytes: usize,
    entries: Vec<Entry>,
    passed: Option<Place>,
}

impl Builder {
    /// Starts a page of at most `limit` entries after the given place.
    pub fn new(limit: usize, after: Option<Place>) -> Self {
        Self { limit, bytes: 0, entries: Vec::new(), passed: after }
    }

    /// Adds the next entry. Breaks if the page is full; the entry is then not added.
    pub fn add(&mut self, entry: Entry) -> ControlFlow<()> {
        let weight = entry.weight_bytes();
        if self.entries.len() >= self.limit || (!self.entries.is_empty() && self.bytes + weight > MAX_BYTES) {
            return ControlFlow::Break(());
        }
        self.bytes += weight;
        self.entries.push(entry);
        ControlFlow::Continue(())
    }

    /// Moves the page's end past a document: an entry of this page, or a document that is not an entry.
    pub fn pass(&mut self, place: Place) {
        self.passed = Some(place);
    }

    /// The current end of the page.
    pub fn passed(&self) -> Option<&Place> {
        self.passed.as_ref()
    }

    /// Finishes the last page.
    pub fn last(self) -> Page {
        Page { entries: self.entries, next: None }
    }

    /// Finishes a page that has a next one.
    pub fn followed(self) -> Page {
        Page { entries: self.entries, next: self.passed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::entry;

    fn place(n: u128) -> Place {
        Place { time_ms: 0, id: entry(n).id.to_string() }
    }

    fn taken(page: &mut Builder, n: u128, entry: Entry) -> bool {
        let taken = page.add(entry).is_continue();
        if taken {
            page.pass(place(n));
        }
        taken
    }

    #[test]
    fn a_page_ends_at_its_limit() {
        let mut page = Builder::new(2, None);
        assert!(taken(&mut page, 1, entry(1)));
        assert!(taken(&mut page, 2, entry(2)));
        assert!(!taken(&mut page, 3, entry(3)));
        let page = page.followed();
        assert_eq!((page.entries.len(), page.next), (2, Some(place(2))));
    }

    #[test]
    fn a_page_ends_before_its_reply_is_too_large() {
        let large = |n| Entry { data: "x".repeat(1_500_000), ..entry(n) };
        let mut page = Builder::new(1_000, None);
        assert!(taken(&mut page, 1, large(1)));
        assert!(!taken(&mut page, 2, large(2)));
        assert_eq!(page.followed().next, Some(place(1)));
    }

    #[test]
    fn a_page_without_entries_advances() {
        let mut page = Builder::new(2, Some(place(9)));
        assert_eq!(page.passed(), Some(&place(9)));
        page.pass(place(8));
        assert_eq!(page.followed(), Page { entries: vec![], next: Some(place(8)) });
    }
}
