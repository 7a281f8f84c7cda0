//! The console: a web page that calls the broker.

use std::process::ExitCode;

fn main() -> ExitCode {
    weft_runtime::run("frontend", env!("CARGO_PKG_VERSION"), weft_frontend::run)
}
