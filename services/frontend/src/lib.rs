#![doc = include_str!("../README.md")]

mod app;
mod assets;
mod config;
mod headers;
mod http;
mod metrics;
mod pages;
mod resource;

pub use app::{RunError, run};
