//! Dead letters: read from the queue `<queue>.dead`, moved to a store, and published again.
//!
//! The store is accessed through [`LetterStore`], because this crate speaks AMQP only.

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
    /// Stores a letter durably. Idempotent: a letter whose id already exists is not stored again.
    ///
    /// # Errors
    /// When it is not known whether the letter was stored. The letter then stays in RabbitMQ.
    async fn store(&self, letter: DeadLetter) -> Result<(), LetterStoreError>;
}

/// Why a letter was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LetterStoreError {
    /// The store is unreachable or timed out.
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
