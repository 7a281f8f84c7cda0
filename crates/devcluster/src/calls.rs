//! Calls at a steady rate without retries, for changes that clients must not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::until::until;

/// A background task that makes calls until it is stopped.
#[derive(Debug)]
pub struct Calls {
    stop: watch::Sender<bool>,
    answered: Arc<AtomicU64>,
    calling: JoinHandle<Result<Vec<String>>>,
}

impl Calls {
    /// Starts making this many calls per second, numbered from 1. A failed call returns the reason.
    pub fn start<C>(per_second: u32, call: impl Fn(u64) -> C + Send + 'static) -> Self
    where
        C: Future<Output = Result<(), String>> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        let answered = Arc::new(AtomicU64::new(0));
        let every = Duration::from_secs(1) / per_second;
        let calling = tokio::spawn(run(call, Arc::clone(&answered), every, stopped));
        Self { stop, answered, calling }
    }

    /// Number of successful calls.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until this many more calls have succeeded.
    ///
    /// # Errors
    /// When it times out.
    pub async fn advance(&self, more: u64, within: Duration) -> Result<()> {
        let goal = self.answered() + more;
        until(&format!("{more} more answers"), within, async || {
            let now = self.answered();
            ensure!(now >= goal, "{now} of {goal}");
            Ok(())
        })
        .await
    }

    /// Stops. Returns the number of successful calls, and the reason of each failed call.
    ///
    /// # Errors
    /// When the task of a call has panicked.
    pub async fn finish(self) -> Result<(u64, Vec<String>)> {
        self.stop.send_replace(true);
        let failed = self.calling.await??;
        Ok((self.answered.load(Ordering::Relaxed), failed))
    }
}

async fn run<C>(
    call: impl Fn(u64) -> C,
    answered: Arc<AtomicU64>,
    every: Duration,
    mut stopped: watch::Receiver<bool>,
) -> Result<Vec<String>>
where
    C: Future<Output = Result<(), String>> + Send + 'static,
{
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
        let (this, answered) = (call(turn), Arc::clone(&answered));
        calls.spawn(async move {
            let failed = this.await.err();
            answered.fetch_add(u64::from(failed.is_none()), Ordering::Relaxed);
            failed
        });
    }
    while let Some(ended) = calls.join_next().await {
        failed.extend(ended?);
    }
    Ok(failed)
}
