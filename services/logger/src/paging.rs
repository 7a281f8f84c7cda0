//! Pages that fit into a reply.

use std::ops::ControlFlow;

use crate::entry::{Entry, Page, Place};

/// What a page's entries may weigh, so that its reply stays below the 4 MiB that a gRPC client takes by default.
/// A single entry always fits.
const MOST_BYTES: usize = 2 << 20;

/// Collects a page, entry by entry.
#[derive(Debug)]
pub struct Builder {
    limit: usize,
    bytes: usize,
    page: Page,
}

impl Builder {
    /// A page of at most so many entries.
    pub fn new(limit: usize) -> Self {
        Self { limit, bytes: 0, page: Page::default() }
    }

    /// Adds the next entry; a full page takes no more and knows that there is a next one.
    pub fn add(&mut self, entry: Entry) -> ControlFlow<()> {
        let weight = entry.weight_bytes();
        let entries = &mut self.page.entries;
        if let Some(last) = entries.last()
            && (entries.len() >= self.limit || self.bytes + weight > MOST_BYTES)
        {
            self.page.next = Some(Place { time_ms: last.time_ms, id: last.id });
            return ControlFlow::Break(());
        }
        self.bytes += weight;
        entries.push(entry);
        ControlFlow::Continue(())
    }

    /// The page.
    pub fn finish(self) -> Page {
        self.page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::entry;

    #[test]
    fn a_page_ends_at_its_limit_and_knows_whether_there_is_more() {
        let mut page = Builder::new(2);
        assert!(page.add(entry(1)).is_continue());
        assert!(page.add(entry(2)).is_continue());
        assert!(page.add(entry(3)).is_break());
        let page = page.finish();
        assert_eq!(page.entries.len(), 2);
        assert_eq!(page.next.unwrap().id, entry(2).id);
    }

    #[test]
    fn a_page_ends_before_it_outgrows_a_reply() {
        let large = |n| Entry { data: "x".repeat(1_500_000), ..entry(n) };
        let mut page = Builder::new(1_000);
        assert!(page.add(large(1)).is_continue());
        assert!(page.add(large(2)).is_break());
        assert_eq!(page.finish().next.unwrap().id, entry(1).id);
    }

    #[test]
    fn the_last_page_has_no_next_one() {
        let mut page = Builder::new(2);
        let _ = page.add(entry(1));
        assert_eq!(page.finish().next, None);
    }
}
