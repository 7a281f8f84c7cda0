//! The stores as processes: they keep data and port through a kill, and leave no process behind.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod helpers;
mod stores;
