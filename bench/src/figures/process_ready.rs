use anyhow::Result;
use tokio::time::Instant;
use weft_devstack::{DevStack, Options, Service};

use super::services;
use crate::figure::Measured;

const ROUNDS: usize = 5;

pub(super) async fn measure() -> Result<Measured> {
    let stack = DevStack::start(Options::default()).await?;
    let (mut slowest, mut notes) = (0.0_f64, Vec::new());
    for (name, service) in services(&stack).into_iter().chain([("frontend", &stack.frontend)]) {
        let times = starts(service).await?;
        let worst = times.iter().copied().fold(0.0, f64::max);
        let best = times.iter().copied().fold(f64::INFINITY, f64::min);
        notes.push(format!("{name}: {best:.3} to {worst:.3} s in {ROUNDS} starts"));
        slowest = slowest.max(worst);
    }
    Ok(Measured { value: slowest, notes })
}

/// Readiness is looked at every 20 ms: that much may be too much.
async fn starts(service: &Service) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        service.stop().await?;
        let started = Instant::now();
        service.start().await?;
        times.push(started.elapsed().as_secs_f64());
    }
    Ok(times)
}
