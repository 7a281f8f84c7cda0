//! Who used how much of the processor.

use std::fs;

use tokio::time::Instant;
use weft_devstack::{DevStack, Process};

/// The kernel's unit in `/proc/<pid>/stat`: USER_HZ, the same on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time of some processes since a moment.
#[derive(Debug)]
pub(crate) struct CpuWatch {
    started: Instant,
    processes: Vec<(&'static str, u32, f64)>,
}

impl CpuWatch {
    /// Begins with the stack's processes and this one.
    pub(crate) fn start(stack: &DevStack) -> Self {
        let of = |name, process: &Process| Some((name, process.pid()?));
        let jaeger = stack.jaeger.as_ref().and_then(|jaeger| of("jaeger", jaeger));
        let known = [
            of("broker", &stack.broker),
            of("logger", &stack.logger),
            of("listener", &stack.listener),
            of("authentication", &stack.authentication),
            of("mail", &stack.mail),
            of("postgres", &stack.postgres),
            of("ferretdb", &stack.mongodb),
            of("rabbitmq", &stack.rabbitmq),
            jaeger,
            Some(("weft-bench", std::process::id())),
        ];
        let processes = known.into_iter().flatten().map(|(name, pid)| (name, pid, seconds(pid))).collect();
        Self { started: Instant::now(), processes }
    }

    /// In words: cores used on average by each.
    pub(crate) fn note(&self) -> String {
        let elapsed = self.started.elapsed().as_secs_f64();
        let used = |(name, pid, before): &(&str, u32, f64)| {
            format!("{name} {:.2}", (seconds(*pid) - before) / elapsed)
        };
        let all: Vec<String> = self.processes.iter().map(used).collect();
        format!("cores used: {}", all.join(", "))
    }
}

/// User and system time so far; 0 for a process that is gone.
fn seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The command's name is in brackets and may hold spaces.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks =
        |index: usize| fields.get(index).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) / TICKS_PER_SECOND
}
