//! Tests the service as a process. The browser tests are in `e2e/browser`.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails its test")]

mod caching;
mod first_view;
mod headers;
mod helpers;
mod life;
mod routes;
mod settings;
