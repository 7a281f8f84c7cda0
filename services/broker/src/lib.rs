#![doc = include_str!("../README.md")]

mod app;
mod body;
mod callees;
mod client;
mod config;
mod edge;
mod events;
mod forward;
mod http;
mod idempotency;
mod in_flight;
mod keys;
mod letters;
mod limit;
mod logger;
mod mail;
mod open;
mod openapi;
mod origin;
mod quotas;
mod reply;
mod routes;
mod session;
mod signed_in;
mod standing;
mod token;
mod traces;
mod upstream;
mod user;
mod writes;

pub use app::{RunError, run};
