//! Runs a program with a timeout.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// Runs a program with this standard input. Returns its standard output.
pub(crate) async fn run(program: &Path, args: &[&str], input: &str, within: Duration) -> Result<String> {
    let shown = || format!("{} {}", program.file_name().unwrap_or_default().display(), args.join(" "));
    let mut command = Command::new(program);
    command.args(args).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("failed to start {}", shown()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // Fails when the program has closed its input without reading it.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = timeout(within, child.wait_with_output()).await;
    let output = output.with_context(|| format!("`{}` timed out after {within:?}", shown()))??;
    if !output.status.success() {
        bail!("`{}` failed ({}): {}", shown(), output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
