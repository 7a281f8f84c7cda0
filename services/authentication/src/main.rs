use std::process::ExitCode;

fn main() -> ExitCode {
    weft_runtime::credentials::main(
        "authentication",
        env!("CARGO_PKG_VERSION"),
        weft_authentication::run,
        weft_authentication::credentials::change,
    )
}
