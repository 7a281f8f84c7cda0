//! Dead letters: read from the queue `<queue>.dead`, moved into a store, and published again.
//!
//! The store is behind [`LetterStore`], because this crate speaks AMQP and nothing else.

mod death;
mod letter;
mod mover;
mod replay;

pub use self::{letter::DeadLetter, mover::DeadLetterMover};

#[cfg(test)]
pub(crate) use self::replay::fuzzed;

use async_trait::async_trait;

/// Where dead letters are kept.
#[async_trait]
pub trait LetterStore: Send + Sync + 'static {
    /// Stores a letter durably. A letter whose id is already stored is not stored again.
    ///
    /// # Errors
    /// Then the letter stays in RabbitMQ. It may be stored all the same.
    async fn store(&self, letter: DeadLetter) -> Result<(), LetterStoreError>;
}

/// Why a letter was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LetterStoreError {
    /// The store can't be reached, or did not answer in time.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The store does not accept this letter.
    #[error("the store refused the letter: {0}")]
    Refused(String),
}

impl LetterStoreError {
    fn label(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Refused(_) => "refused",
        }
    }
}
