//! The operator's process: `weft-operator` runs it, `weft-operator crd` prints the definition of Stack, `weft-operator smoke`
//! tries one out.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the operator (the default).
    Run,
    /// Prints the CustomResourceDefinition of Stack as YAML.
    Crd,
    /// Publishes an event through a Stack's broker, and looks for its entry and its trace: what `helm test` runs.
    Smoke,
}

fn main() -> ExitCode {
    match Arguments::parse().command.unwrap_or(Command::Run) {
        Command::Run => weft_runtime::run("weft-operator", env!("CARGO_PKG_VERSION"), weft_operator::run),
        Command::Crd => weft_operator::crd::print(),
        Command::Smoke => weft_operator::smoke::main(),
    }
}
