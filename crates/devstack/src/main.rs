//! `weft-dev`: runs the whole stack as processes on loopback until SIGINT or SIGTERM.

use std::{
    io::{Write, stdout},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use weft_devstack::{DevStack, Options};

/// Runs all services and their stores on loopback, without Kubernetes.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Port of the broker; another port is used when it is in use.
    #[arg(long, default_value_t = 8080, env = "WEFT_DEV_BROKER_PORT")]
    broker_port: u16,
    /// Port of the console; another port is used when it is in use.
    #[arg(long, default_value_t = 8081, env = "WEFT_DEV_CONSOLE_PORT")]
    console_port: u16,
    /// Additional origins whose pages may call the broker, comma-separated.
    #[arg(long, value_delimiter = ',', env = "WEFT_DEV_ORIGINS")]
    origins: Vec<String>,
    /// Port of Jaeger's query API; another port is used when it is in use.
    #[arg(long, default_value_t = 16686, env = "WEFT_DEV_JAEGER_PORT")]
    jaeger_port: u16,
    /// Port of the mail catcher's page; another port is used when it is in use.
    #[arg(long, default_value_t = 1080, env = "WEFT_DEV_MAIL_PORT")]
    mail_port: u16,
    /// Folder for data and logs (default: a temporary folder, deleted at the end).
    #[arg(long, env = "WEFT_DEV_STATE")]
    state: Option<PathBuf>,
    /// Share of traces that is kept, 0 to 1.
    #[arg(long, default_value_t = 1.0, env = "WEFT_DEV_TRACE_RATIO", value_parser = ratio)]
    trace_ratio: f64,
    /// Runs without Jaeger and without exporting spans.
    #[arg(long, env = "WEFT_DEV_NO_TRACES")]
    no_traces: bool,
    /// Log filter of the services.
    #[arg(long, default_value = "info", env = "WEFT_LOG")]
    log: String,
}

fn ratio(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err("expected a number from 0 to 1".into()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut ended = async || tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} };
    let options = Options {
        state: args.state,
        broker_port: args.broker_port,
        console_port: args.console_port,
        jaeger_port: args.jaeger_port,
        mail_port: args.mail_port,
        traces: !args.no_traces,
        trace_ratio: args.trace_ratio,
        log: args.log,
        origins: args.origins,
        ..Options::default()
    };
    let stack = tokio::select! {
        stack = DevStack::start(options) => stack.context("failed to start the stack")?,
        () = ended() => return Ok(()),
    };
    print(&stack)?;
    tokio::select! {
        () = ended() => {},
        never = stack.report_exits(report) => match never {},
    }
    stack.stop().await
}

fn report(exit: &str) {
    eprintln!("{exit}\nThe other processes keep running. To stop them, press Ctrl-C.");
}

/// Prints NAME=value lines and an empty line, which tells a reader of a pipe that all have been printed.
fn print(stack: &DevStack) -> Result<()> {
    let mut out = stdout().lock();
    for (name, value) in stack.urls() {
        writeln!(out, "{name}={value}")?;
    }
    writeln!(out)?;
    out.flush()?;
    Ok(())
}
