//! argon2id's working memory, kept while passwords wait: to get and clear 19 MiB anew takes a good part of a hash's time.

use std::sync::{Arc, Mutex, PoisonError};

use argon2::Block;

/// What one hash works in. Empty until it is used.
pub(super) type Memory = Vec<Block>;

/// Memory that nobody works in just now. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Spare(Arc<Mutex<Vec<Memory>>>);

impl Spare {
    /// Some that was used before, or some that is empty yet.
    pub(super) fn take(&self) -> Memory {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Gives it back for the next hash.
    pub(super) fn keep(&self, memory: Memory) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
    }

    /// Frees everything: nobody waits.
    pub(super) fn free(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl std::fmt::Debug for Spare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spare").finish_non_exhaustive()
    }
}
