//! Has no code, only a manifest that fixes the features of shared dependencies.
//!
//! Cargo chooses the features of a dependency from the crates that a command selects. Without this crate
//! `cargo test -p weft-logger` and `cargo build --workspace` would each compile tokio, and everything that depends on it, again.
