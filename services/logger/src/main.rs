use std::process::ExitCode;

fn main() -> ExitCode {
    weft_runtime::run("logger", env!("CARGO_PKG_VERSION"), weft_logger::run)
}
