use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    weft_logger::archive::main(&arguments).unwrap_or_else(|| {
        weft_runtime::credentials::main(
            "logger",
            env!("CARGO_PKG_VERSION"),
            weft_logger::run,
            weft_logger::credentials::change,
        )
    })
}
