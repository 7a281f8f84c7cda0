//! Tests of the whole system without a cluster: services and stores are processes on loopback.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails its test")]

mod bad_input;
mod dead_letters;
mod drain;
mod grouped;
mod helpers;
mod kill;
mod logger_grpc;
mod monitoring;
mod people;
mod road;
mod smoke;
mod trace_edges;
mod unavailable;
mod values;
