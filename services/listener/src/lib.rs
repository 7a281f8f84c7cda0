#![doc = include_str!("../README.md")]

mod app;
mod config;
pub mod credentials;
mod handlers;
mod letters;
mod status;

pub use app::{RunError, run};
