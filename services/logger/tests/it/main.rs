//! Tests of the logger process with a real FerretDB.

mod archive;
mod dead_letters;
mod helpers;
mod query;
mod rubbish;
mod status;
mod store_away;
mod write;
