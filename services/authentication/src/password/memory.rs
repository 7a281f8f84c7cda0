//! Pool of argon2id's working memory (19 MiB a hash), used while hashes are queued: allocating and clearing the memory takes a good
//! part of a hash's time.

use std::sync::{Arc, Mutex, PoisonError};

use argon2::Block;

/// Working memory of one hash. Empty until the first use.
pub(super) type Memory = Vec<Block>;

/// Unused memory. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Spare(Arc<Mutex<Vec<Memory>>>);

impl Spare {
    /// Pooled memory, or empty memory if the pool has none.
    pub(super) fn take(&self) -> Memory {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Returns memory to the pool.
    pub(super) fn keep(&self, memory: Memory) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
    }

    /// Frees the pool.
    pub(super) fn free(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl std::fmt::Debug for Spare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spare").finish_non_exhaustive()
    }
}
