#![doc = include_str!("../README.md")]

pub mod accounts;
pub mod app;
pub mod config;
pub mod credentials;
pub mod email;
pub mod grpc;
pub mod invalid;
pub mod keys;
pub mod limits;
pub mod metrics;
pub mod outbox;
pub mod password;
pub mod random;
pub mod relay;
pub mod reset_link;
pub mod seal;
pub mod session;
pub mod store;
pub mod supervise;
pub mod token;
pub mod trace;
pub mod user;

use weft_runtime::Process;

use app::{App, AppError};

/// Runs authentication until the process is asked to stop.
///
/// # Errors
/// When a setting is invalid, or the port can't be served.
pub async fn run(process: Process) -> Result<(), AppError> {
    App::build(&process).await?.run().await
}
