//! Consumes events from RabbitMQ and calls the service for each.

use std::process::ExitCode;

fn main() -> ExitCode {
    weft_runtime::credentials::main(
        "listener",
        env!("CARGO_PKG_VERSION"),
        weft_listener::run,
        weft_listener::credentials::change,
    )
}
