use std::time::Duration;

use anyhow::Result;
use weft_devstack::DevStack;

use super::{Setup, complaints, load};
use crate::cpu::CpuWatch;
use crate::figure::Measured;
use crate::load::{CONNECTIONS, closed_loop};

pub(super) const BODY: &str = r#"{"action":"log","log":{"name":"bench","data":"an entry of the usual length, some sixty characters or so"}}"#;
const WARM_UP: Duration = Duration::from_secs(4);
const MEASURED: Duration = Duration::from_secs(12);

pub(super) async fn measure(setup: &Setup) -> Result<Measured> {
    let stack = DevStack::start(setup.options()).await?;
    let load = load(&stack, BODY);
    let cpu = CpuWatch::start(&stack);
    let value = closed_loop(&load, WARM_UP, MEASURED).await?;
    let how = format!(
        "{CONNECTIONS} connections, {} s after {} s of warm-up, {}",
        MEASURED.as_secs(),
        WARM_UP.as_secs(),
        setup.note()
    );
    let mut notes = vec![how, cpu.note()];
    notes.extend(complaints(&stack));
    Ok(Measured { value, notes })
}
