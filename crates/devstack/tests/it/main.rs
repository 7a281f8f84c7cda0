//! The stores as processes: they keep data and port through a kill, and leave no process behind. The whole stack reports what exits.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod dev;
mod helpers;
mod stores;
