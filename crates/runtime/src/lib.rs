#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod admin;
pub mod allowance;
pub mod budget;
pub mod clock;
pub mod config;
pub mod credentials;
pub mod health;
pub mod http;
pub mod lifecycle;
mod log_line;
pub mod log_scope;
pub mod metrics;
pub mod net;
pub mod process;
mod sampler;
mod spans;
pub mod status;
pub mod store;
pub mod task;
pub mod telemetry;
pub mod trace;

pub use process::{Process, run};

/// Of every process that links this crate: services allocate many small pieces on two threads and free them on the
/// other, which glibc's allocator is slow at (docs/evidence.md has the comparison).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
