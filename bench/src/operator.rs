//! The operator alone: its own API server and etcd as plain processes, as many Stacks as are asked for, and no node. Controllers
//! and kubelets are played by this process where a figure needs them.

mod client;
mod crowd;
mod program;
mod run;

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};

pub(crate) use run::Run;

/// What was measured with so many Stacks: once for all figures.
#[derive(Debug)]
pub(crate) struct Operators {
    /// How many Stacks, in the order in which they are measured. The figure is that of the last.
    pub(crate) sizes: Vec<usize>,
    runs: BTreeMap<usize, Result<Run, String>>,
}

impl Operators {
    pub(crate) fn new(sizes: &[usize]) -> Self {
        Self { sizes: sizes.to_vec(), runs: BTreeMap::new() }
    }

    /// What so many Stacks cost.
    pub(crate) async fn run(&mut self, stacks: usize) -> Result<&Run> {
        if !self.runs.keys().any(|run| *run == stacks) {
            eprintln!("measuring the operator with {stacks} Stacks");
            let run = run::measure(stacks).await.map_err(|error| format!("{error:#}"));
            self.runs.insert(stacks, run);
        }
        let run = self.runs.get(&stacks).and_then(|run| run.as_ref().ok());
        run.ok_or_else(|| match self.runs.get(&stacks) {
            Some(Err(reason)) => anyhow!("{reason}"),
            _ => anyhow!("it was not measured"),
        })
    }
}
