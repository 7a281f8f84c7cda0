//! Generated Stacks, applied by the operator to an API server of their own. The test of the operator does it; it shrinks what is
//! refused to the least Stack that still is.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::figure::Measured;

const STACKS: u32 = 400;
/// The operator's integration tests, as `make bench` compiles them.
const TESTS: &str = "WEFT_OPERATOR_TESTS";

pub(super) async fn measure() -> Result<Measured> {
    let tests = env::var_os(TESTS).map(PathBuf::from);
    let tests = tests.with_context(|| format!("{TESTS} is not set: use `make bench`"))?;
    let mut command = Command::new(tests);
    command.args(["real::generated", "--nocapture"]).env("WEFT_REAL_STACKS", STACKS.to_string());
    let output = command.kill_on_drop(true).output().await.context("failed to run the operator's tests")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{}{text}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find_map(|line| line.strip_prefix("real_api: "));
    let line = line.context("the operator's tests did not say how many Stacks were applied")?;
    let applied = line.split_whitespace().next().and_then(|count| count.parse().ok());
    Ok(Measured {
        value: applied.with_context(|| format!("no count in `{line}`"))?,
        notes: vec![line.to_owned()],
    })
}
