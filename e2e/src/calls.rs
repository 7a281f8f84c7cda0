//! Calls at a steady rate, none of them repeated: for what must not be noticed by anybody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::road::unique;
use crate::{Broker, Reply, until};

/// One call in so many is a sign-in, which costs what a password's hash costs.
const SIGN_IN_EVERY: u64 = 8;

/// Calls that go on until they are stopped.
#[derive(Debug)]
pub struct Calls {
    stop: watch::Sender<bool>,
    answered: Arc<AtomicU64>,
    calling: JoinHandle<Result<Vec<String>>>,
}

impl Calls {
    /// Begins to make this many calls each second: log by gRPC, log through RabbitMQ, and sign-ins.
    #[must_use]
    pub fn start(broker: &Broker, per_second: u32) -> Self {
        let (stop, stopped) = watch::channel(false);
        let answered = Arc::new(AtomicU64::new(0));
        let every = Duration::from_secs(1) / per_second;
        let calling = tokio::spawn(call(broker.clone(), Arc::clone(&answered), every, stopped));
        Self { stop, answered, calling }
    }

    /// Waits until this many more have been answered.
    ///
    /// # Errors
    /// When they are not in time.
    pub async fn advance(&self, more: u64, within: Duration) -> Result<()> {
        let goal = self.answered.load(Ordering::Relaxed) + more;
        until(&format!("{more} more answers"), within, async || {
            let now = self.answered.load(Ordering::Relaxed);
            ensure!(now >= goal, "{now} of {goal}");
            Ok(())
        })
        .await
    }

    /// Stops calling. Returns how many calls were answered as they should be, and what became of each other one.
    ///
    /// # Errors
    /// When a call's task has failed.
    pub async fn finish(self) -> Result<(u64, Vec<String>)> {
        self.stop.send_replace(true);
        let failed = self.calling.await??;
        Ok((self.answered.load(Ordering::Relaxed), failed))
    }
}

async fn call(
    broker: Broker,
    answered: Arc<AtomicU64>,
    every: Duration,
    mut stopped: watch::Receiver<bool>,
) -> Result<Vec<String>> {
    let name = unique("calls");
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut calls, mut failed, mut turn) = (JoinSet::new(), Vec::new(), 0_u64);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            Some(ended) = calls.join_next() => { failed.extend(ended?); continue }
            _ = stopped.wait_for(|stop| *stop) => break,
        }
        turn += 1;
        let (broker, answered, name) = (broker.clone(), Arc::clone(&answered), name.clone());
        calls.spawn(async move {
            let (what, reply) = match turn {
                turn if turn.is_multiple_of(SIGN_IN_EVERY) => ("auth", broker.sign_in().await),
                turn if turn.is_multiple_of(2) => ("log", broker.log(&name, "called").await),
                _ => ("event", broker.event(&name, "called").await),
            };
            let failed = failure(what, reply);
            answered.fetch_add(u64::from(failed.is_none()), Ordering::Relaxed);
            failed
        });
    }
    while let Some(ended) = calls.join_next().await {
        failed.extend(ended?);
    }
    Ok(failed)
}

fn failure(what: &str, reply: Result<Reply>) -> Option<String> {
    match reply {
        Ok(reply) if reply.status == 202 => None,
        Ok(reply) => Some(format!("{what} was answered {}: {}", reply.status, reply.body)),
        Err(error) => Some(format!("{what}: {error:#}")),
    }
}
