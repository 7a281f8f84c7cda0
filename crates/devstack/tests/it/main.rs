//! The stores as processes: they serve, keep their data and port through a kill, and leave nothing behind.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails its test")]

mod helpers;
mod stores;
