#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod address;
pub mod audit;
pub mod id;
pub mod key;
pub mod password;
pub mod text;
pub mod time;

/// Why a value is invalid: what is wrong, and what is expected. Never repeats the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(&'static str);

impl Invalid {
    /// The reason, as [`std::fmt::Display`] writes it.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        self.0
    }
}
