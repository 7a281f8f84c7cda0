#![doc = include_str!("../README.md")]

mod app;
mod config;
mod handlers;
mod status;

pub use app::{RunError, run};
