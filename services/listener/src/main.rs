//! Consumes events and starts what each asks for.

use std::process::ExitCode;

fn main() -> ExitCode {
    weft_runtime::credentials::main(
        "listener",
        env!("CARGO_PKG_VERSION"),
        weft_listener::run,
        weft_listener::credentials::change,
    )
}
