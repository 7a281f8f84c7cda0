//! A child process that ends with its owner, and what the kernel says of it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::process::{Child, Command};
use weft_devcluster::{Resident, until};

/// The kernel's unit in `/proc/<pid>/stat`: USER_HZ, the same on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug)]
pub(super) struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    pub(super) fn start(
        program: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        env: &[(&str, String)],
        log: PathBuf,
    ) -> Result<Self> {
        let failed = || format!("failed to start {}", program.display());
        let out = File::create(&log).with_context(failed)?;
        let child = Command::new(program)
            .args(arguments)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(out.try_clone().with_context(failed)?)
            .stderr(out)
            .kill_on_drop(true)
            .spawn()
            .with_context(failed)?;
        Ok(Self { child, log })
    }

    /// Waits until this address answers with a success.
    pub(super) async fn serves(&self, http: &reqwest::Client, url: &str) -> Result<()> {
        let ready = until(url, Duration::from_secs(60), async || {
            http.get(url).send().await?.error_for_status()?;
            Ok(())
        });
        ready.await.with_context(|| format!("the end of its log: {}", self.tail()))
    }

    pub(super) async fn stop(mut self) -> Result<()> {
        let pid = self.pid()?;
        let ended = Command::new("kill").arg(pid.to_string()).status().await?;
        if !ended.success() {
            bail!("process {pid} could not be told to end");
        }
        tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await??;
        Ok(())
    }

    /// User and system time so far.
    pub(super) fn cpu_s(&self) -> Result<f64> {
        cpu_s(self.pid()?)
    }

    pub(super) fn resident_mib(&self) -> Result<f64> {
        let kib = Resident::of(self.pid()?)?.kib;
        Ok(u32::try_from(kib).map_or(f64::INFINITY, f64::from) / 1_024.0)
    }

    /// The most that it ever had.
    pub(super) fn peak_mib(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1_024.0)
    }

    fn pid(&self) -> Result<u32> {
        self.child.id().with_context(|| format!("it has ended; the end of its log: {}", self.tail()))
    }

    fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// User and system time of a process so far.
pub(super) fn cpu_s(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The command's name is in brackets and may hold spaces.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|ticks| ticks.parse::<f64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).context("no times in /proc")?;
    Ok((user + system) / TICKS_PER_SECOND)
}
