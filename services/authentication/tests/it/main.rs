//! Authentication as a process, against a real PostgreSQL; the logger and mail are servers in the test.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails its test")]

mod credentials;
mod dropped;
mod failed_letters;
mod helpers;
mod keys;
mod limits;
mod outbox;
mod peers;
mod people;
mod queries;
mod replicas;
mod resets;
mod rubbish;
mod sessions;
mod sign_in;
mod spellings;
mod status;
mod store_away;
