use std::process::ExitCode;

fn main() -> ExitCode {
    weft_runtime::run("authentication", env!("CARGO_PKG_VERSION"), weft_authentication::run)
}
