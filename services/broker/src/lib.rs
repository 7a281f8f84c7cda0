#![doc = include_str!("../README.md")]

mod app;
mod body;
mod callees;
mod client;
mod config;
mod edge;
mod http;
mod idempotency;
mod keys;
mod limit;
mod mail;
mod openapi;
mod origin;
mod proxy;
mod reply;
mod routes;
mod session;
mod signed_in;
mod token;
mod traces;
mod upstream;
mod user;
mod writes;

pub use app::{RunError, run};
