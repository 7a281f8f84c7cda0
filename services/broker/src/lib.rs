#![doc = include_str!("../README.md")]

mod app;
mod body;
mod config;
mod edge;
mod http;
mod idempotency;
mod reply;
mod upstream;

pub use app::{RunError, run};
