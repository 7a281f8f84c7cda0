//! Processes of a container, if the cluster's node is this machine.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Resident memory of a process.
#[derive(Clone, Debug)]
pub struct Resident {
    /// The process id.
    pub pid: u32,
    /// `VmRSS` in KiB.
    pub kib: u64,
}

impl Resident {
    /// Reads the resident memory from `/proc`.
    ///
    /// # Errors
    /// When the process does not exist.
    pub fn of(pid: u32) -> Result<Self> {
        let file = format!("/proc/{pid}/status");
        let status = fs::read_to_string(&file).with_context(|| format!("failed to read {file}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok());
        Ok(Self { pid, kib: kib.with_context(|| format!("{file} has no VmRSS"))? })
    }
}

/// The processes in the first container of a pod's status.
///
/// # Errors
/// When the pod has no running container, or its processes are not on this machine.
pub fn of_container(pod: &Value) -> Result<Vec<u32>> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let id = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap_or_default();
    let id = id.rsplit('/').next().filter(|id| id.len() >= 32);
    let id = id.with_context(|| format!("pod {name} has no running container"))?;
    let found: Vec<u32> = fs::read_dir("/proc")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(id))
        })
        .collect();
    ensure!(!found.is_empty(), "no process on this machine belongs to the container of pod {name}");
    Ok(found)
}
