//! Log calls at a fixed rate while sign-ins come in as fast as they are answered.

use std::time::Duration;

use anyhow::Result;
use weft_devstack::DevStack;

use super::{Setup, complaints, load, log_rpc_rate::BODY, login_rate::sign_in, p99_ms};
use crate::cpu::CpuWatch;
use crate::figure::Measured;
use crate::load::{closed_loop_of, fixed_rate};

const FLOOD_CONNECTIONS: usize = 32;
const PER_SECOND: u32 = 100;
const COUNT: u32 = 1_500;
/// As long as the log calls last, and a little before.
const HEAD_START: Duration = Duration::from_secs(2);
const FLOOD: Duration = Duration::from_secs(15);

pub(super) async fn measure(setup: &Setup) -> Result<Measured> {
    let stack = DevStack::start(setup.options()).await?;
    let (flood, calls) = (load(&stack, sign_in(&stack)), load(&stack, BODY));
    fixed_rate(&calls, PER_SECOND, PER_SECOND).await?;
    let cpu = CpuWatch::start(&stack);
    let (rate, samples) = tokio::join!(closed_loop_of(&flood, FLOOD_CONNECTIONS, HEAD_START, FLOOD), async {
        // Not for a condition: the flood is to stand before anything is measured.
        tokio::time::sleep(HEAD_START).await;
        fixed_rate(&calls, PER_SECOND, COUNT).await
    });
    let mut measured = p99_ms(samples?.iter().map(|sample| sample.latency))?;
    measured.notes.extend([
        format!(
            "log calls at {PER_SECOND}/s beside {:.1} sign-ins/s on {FLOOD_CONNECTIONS} connections",
            rate?
        ),
        cpu.note(),
    ]);
    measured.notes.extend(complaints(&stack));
    Ok(measured)
}
