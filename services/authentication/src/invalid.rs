//! Invalid fields.

/// An invalid field of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    pub field: &'static str,
    /// What is wrong, and what was expected.
    pub reason: &'static str,
}
