#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod caller;
pub mod client;
pub mod config;
mod connect;
pub mod deadline;
pub mod joined;
mod metrics;
mod observed;
mod resend;
pub mod server;

pub use caller::Caller;
pub use client::{Channel, Mesh};
pub use config::MeshConfig;
pub use deadline::Deadline;
pub use server::Server;
