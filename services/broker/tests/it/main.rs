//! The broker as a process with nothing behind it. What it does with the others is in `e2e/tests/dev`.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails its test")]

mod alone;
mod helpers;
mod settings;
