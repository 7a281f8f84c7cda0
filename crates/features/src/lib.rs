//! No code: the manifest is the point.
//!
//! Cargo chooses a dependency's features from the crates that one command selects. Without this crate `cargo test -p weft-logger`
//! and `cargo build --workspace` would each compile tokio, and all that stands on it, for themselves.
