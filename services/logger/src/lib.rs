#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod app;
pub mod archive;
pub mod config;
pub mod credentials;
pub mod cursor;
pub mod entry;
pub mod group;
pub mod grpc;
pub mod letter;
pub mod letters;
pub mod metrics;
pub mod paging;
pub mod retention;
pub mod store;
pub mod supervise;
#[cfg(test)]
mod testing;
pub mod trace;
pub mod validate;

use weft_runtime::Process;

use app::{App, AppError};

/// Runs the logger until shutdown is requested.
///
/// # Errors
/// When a setting is missing or invalid, or the port can't be served.
pub async fn run(process: Process) -> Result<(), AppError> {
    App::build(&process).await?.run().await
}
