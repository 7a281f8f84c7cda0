//! Tests of the logger process with a real FerretDB.

mod archive;
mod dead_letters;
mod helpers;
mod invalid_requests;
mod query;
mod status;
mod store_outages;
mod write;
