//! The single entry point: HTTP and JSON in, gRPC and events out.

use std::process::ExitCode;

fn main() -> ExitCode {
    weft_runtime::run("broker", env!("CARGO_PKG_VERSION"), weft_broker::run)
}
