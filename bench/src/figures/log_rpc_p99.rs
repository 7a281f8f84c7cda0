use anyhow::Result;
use weft_devstack::DevStack;

use super::{Setup, complaints, load, log_rpc_rate::BODY, p99_ms};
use crate::cpu::CpuWatch;
use crate::figure::Measured;
use crate::load::fixed_rate;

const PER_SECOND: u32 = 500;
const WARM_UP: u32 = 1_000;
const COUNT: u32 = 7_500;

pub(super) async fn measure(setup: &Setup) -> Result<Measured> {
    let stack = DevStack::start(setup.options()).await?;
    let load = load(&stack, BODY);
    fixed_rate(&load, PER_SECOND, WARM_UP).await?;
    let cpu = CpuWatch::start(&stack);
    let samples = fixed_rate(&load, PER_SECOND, COUNT).await?;
    let mut measured = p99_ms(samples.iter().map(|sample| sample.latency))?;
    measured.notes.extend([format!("at {PER_SECOND}/s, {}", setup.note()), cpu.note()]);
    measured.notes.extend(complaints(&stack));
    Ok(measured)
}
