use std::process::ExitCode;

fn main() -> ExitCode {
    weft_runtime::run("mail", env!("CARGO_PKG_VERSION"), weft_mail::run)
}
