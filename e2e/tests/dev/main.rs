//! The services and their stores as plain processes on loopback: what needs the whole system, but no cluster.

mod bad_input;
mod drain;
mod grouped;
mod helpers;
mod kill;
mod logger_face;
mod road;
mod trace_edges;
mod unavailable;
