//! Pages that fit into a reply.

use std::ops::ControlFlow;

use crate::entry::{Entry, Page, Place};

/// What a page's entries may weigh, so that its reply stays below the 4 MiB that a gRPC client takes by default.
/// A single entry always fits.
const MOST_BYTES: usize = 2 << 20;

/// Collects a page, document by document.
#[derive(Debug)]
pub struct Builder {
    limit: usize,
    bytes: usize,
    entries: Vec<Entry>,
    passed: Option<Place>,
}

impl Builder {
    /// A page of at most so many entries, from this place on.
    pub fn new(limit: usize, after: Option<Place>) -> Self {
        Self { limit, bytes: 0, entries: Vec::new(), passed: after }
    }

    /// Adds the next entry; a full page takes no more.
    pub fn add(&mut self, entry: Entry) -> ControlFlow<()> {
        let weight = entry.weight_bytes();
        if self.entries.len() >= self.limit || (!self.entries.is_empty() && self.bytes + weight > MOST_BYTES)
        {
            return ControlFlow::Break(());
        }
        self.bytes += weight;
        self.entries.push(entry);
        ControlFlow::Continue(())
    }

    /// Moves the page's end behind a document, which may be an entry on this page or not an entry at all.
    pub fn pass(&mut self, place: Place) {
        self.passed = Some(place);
    }

    /// Where the page ends so far.
    pub fn passed(&self) -> Option<&Place> {
        self.passed.as_ref()
    }

    /// The last page.
    pub fn last(self) -> Page {
        Page { entries: self.entries, next: None }
    }

    /// A page that another one follows.
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
    fn a_page_ends_before_it_outgrows_a_reply() {
        let large = |n| Entry { data: "x".repeat(1_500_000), ..entry(n) };
        let mut page = Builder::new(1_000, None);
        assert!(taken(&mut page, 1, large(1)));
        assert!(!taken(&mut page, 2, large(2)));
        assert_eq!(page.followed().next, Some(place(1)));
    }

    #[test]
    fn a_page_without_an_entry_moves_on_too() {
        let mut page = Builder::new(2, Some(place(9)));
        assert_eq!(page.passed(), Some(&place(9)));
        page.pass(place(8));
        assert_eq!(page.followed(), Page { entries: vec![], next: Some(place(8)) });
    }
}
