//! The bare axum server that the broker's `GET /ping` is held against, as a process.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// A running server; it ends with this value.
#[derive(Debug)]
pub(crate) struct Bare {
    address: String,
    _child: Child,
}

impl Bare {
    /// Starts it, and reads its address from the first line that it prints.
    pub(crate) async fn start(program: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start {}", program.display()))?;
        let out = child.stdout.take().context("it has no standard output")?;
        let line = BufReader::new(out).lines().next_line().await?;
        Ok(Self { address: line.context("it ended without an address")?, _child: child })
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}
