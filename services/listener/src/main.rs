//! Consumes events and starts what each asks for.

use std::process::ExitCode;

fn main() -> ExitCode {
    weft_runtime::run("listener", env!("CARGO_PKG_VERSION"), weft_listener::run)
}
