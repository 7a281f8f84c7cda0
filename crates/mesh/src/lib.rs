#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod client;
pub mod config;
pub mod deadline;
mod metrics;
mod observed;
pub mod server;

pub use client::{Channel, Mesh};
pub use config::MeshConfig;
pub use deadline::Deadline;
pub use server::Server;
