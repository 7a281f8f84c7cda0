//! Tests of the authentication process with a real PostgreSQL. The logger and mail are servers in the test.

#![expect(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod creation;
mod credentials;
mod credentials_upgrade;
mod dropped_calls;
mod failed_letters;
mod helpers;
mod invalid_requests;
mod keys;
mod limits;
mod outbox;
mod peers;
mod queries;
mod replicas;
mod resets;
mod sessions;
mod sign_in;
mod status;
mod store_outages;
mod unicode_forms;
mod users;
