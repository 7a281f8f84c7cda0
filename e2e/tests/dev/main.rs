//! The services and their stores as plain processes on loopback: what needs the whole system, but no cluster.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails its test")]

mod bad_input;
mod dead_letters;
mod drain;
mod grouped;
mod helpers;
mod kill;
mod logger_face;
mod monitoring;
mod people;
mod road;
mod smoke;
mod trace_edges;
mod unavailable;
mod values;
