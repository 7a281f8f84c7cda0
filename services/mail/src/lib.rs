#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod address;
pub mod app;
pub mod config;
pub mod courier;
#[cfg(test)]
mod fuzz;
pub mod grpc;
pub mod in_flight;
pub mod message;
pub mod metrics;
pub mod smtp;
pub mod supervise;
pub mod template;
pub mod trace;
pub mod validate;

use weft_runtime::Process;

use app::{App, AppError};

/// Runs the service until shutdown is requested.
///
/// # Errors
/// When a setting or a template is invalid, or the gRPC port can't be served.
pub async fn run(process: Process) -> Result<(), AppError> {
    App::build(&process).await?.run().await
}
