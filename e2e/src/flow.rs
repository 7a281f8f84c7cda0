//! Sends entries with unique ids at a steady rate while something fails, and counts them in the store at the end.
//!
//! The client repeats each request that was not acknowledged, with the same idempotency key. So a request whose response was lost is
//! sent twice and must be stored once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use uuid::Uuid;

use crate::road::unique;
use crate::{Broker, Reply, until};

/// Bounds of the exponential backoff between repeats.
const REPEAT_AFTER: Duration = Duration::from_millis(500);
const REPEAT_AFTER_AT_MOST: Duration = Duration::from_secs(4);
/// Timeout of a request including repeats. A Stack may be deleted and created meanwhile.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(300);
const STORED_WITHIN: Duration = Duration::from_secs(120);
/// Unanswered requests at a time, so that an outage does not end in a storm of repeats. Less than the broker allows one address.
const AT_ONCE: usize = 100;

/// How entries are sent.
#[derive(Clone, Copy, Debug)]
pub enum Route {
    /// By gRPC.
    Log,
    /// Through RabbitMQ.
    Event,
    /// Alternating.
    Both,
}

/// A running flow.
#[derive(Debug)]
pub struct Flow {
    broker: Broker,
    name: String,
    stop: watch::Sender<bool>,
    acknowledged: Arc<AtomicU64>,
    sending: JoinHandle<Result<Sent>>,
}

/// Result of a flow.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Number of acknowledged entries, each stored exactly once.
    pub acknowledged: usize,
    /// Number of requests sent more than once.
    pub repeated: usize,
    /// Longest time from the first attempt to the acknowledgement.
    pub slowest: Duration,
}

#[derive(Debug, Default)]
struct Sent {
    ids: BTreeSet<Uuid>,
    repeated: usize,
    slowest: Duration,
}

impl Flow {
    /// Starts sending this many entries per second.
    #[must_use]
    pub fn start(broker: &Broker, door: Route, per_second: u32) -> Self {
        let name = unique("flow");
        let (stop, stopped) = watch::channel(false);
        let acknowledged = Arc::new(AtomicU64::new(0));
        let one = One { broker: broker.clone(), name: name.clone(), acknowledged: Arc::clone(&acknowledged) };
        let sending = tokio::spawn(send(one, door, Duration::from_secs(1) / per_second, stopped));
        Self { broker: broker.clone(), name, stop, acknowledged, sending }
    }

    /// Waits until this many more entries are acknowledged.
    ///
    /// # Errors
    /// When it times out.
    pub async fn advance(&self, more: u64, within: Duration) -> Result<()> {
        let goal = self.acknowledged.load(Ordering::Relaxed) + more;
        until(&format!("{more} more acknowledged entries"), within, async || {
            let now = self.acknowledged.load(Ordering::Relaxed);
            ensure!(now >= goal, "{now} of {goal}");
            Ok(())
        })
        .await
    }

    /// Stops sending, waits until all entries are acknowledged, and counts them in the store.
    ///
    /// # Errors
    /// When a request is not acknowledged in time, or an entry is lost, duplicated or was never sent.
    pub async fn finish(self) -> Result<Outcome> {
        self.stop.send_replace(true);
        let sent = self.sending.await??;
        let (broker, name) = (&self.broker, self.name.as_str());
        until("every acknowledged entry in the store, once", STORED_WITHIN, async || {
            check(&sent.ids, &counted(broker, name).await?)
        })
        .await?;
        Ok(Outcome { acknowledged: sent.ids.len(), repeated: sent.repeated, slowest: sent.slowest })
    }
}

/// Counts each key in the store. The key is in the entry's data, so that a copy with another id is found too.
async fn counted(broker: &Broker, name: &str) -> Result<BTreeMap<Uuid, usize>> {
    let mut counts = BTreeMap::new();
    for entry in broker.entries(&[("text", name)]).await? {
        let key = entry["data"].as_str().unwrap_or_default();
        *counts.entry(Uuid::parse_str(key)?).or_default() += 1;
    }
    Ok(counts)
}

fn check(acknowledged: &BTreeSet<Uuid>, stored: &BTreeMap<Uuid, usize>) -> Result<()> {
    let lost = acknowledged.iter().filter(|id| !stored.contains_key(id)).count();
    let duplicated = stored.values().filter(|count| **count > 1).count();
    let unknown = stored.keys().filter(|id| !acknowledged.contains(id)).count();
    ensure!(
        lost + duplicated + unknown == 0,
        "of {} acknowledged: {lost} lost, {duplicated} duplicated, {unknown} never sent",
        acknowledged.len()
    );
    Ok(())
}

#[derive(Clone, Debug)]
struct One {
    broker: Broker,
    name: String,
    acknowledged: Arc<AtomicU64>,
}

async fn send(one: One, door: Route, every: Duration, mut stopped: watch::Receiver<bool>) -> Result<Sent> {
    let mut ticks = interval(every);
    // Missed ticks are not made up for, so that the rate is bounded.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut requests, mut sent, mut turn) = (JoinSet::new(), Sent::default(), 0_u64);
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let slot = async {
            ticks.tick().await;
            Arc::clone(&slots).acquire_owned().await
        };
        let slot = tokio::select! {
            slot = slot => slot?,
            stop = stopped.wait_for(|stop| *stop) => match stop {
                Ok(_) => break,
                // The flow was dropped.
                Err(_) => return Ok(sent),
            },
        };
        turn += 1;
        let action = match door {
            Route::Log => "log",
            Route::Event => "event",
            Route::Both if turn.is_multiple_of(2) => "log",
            Route::Both => "event",
        };
        let request = one.clone().deliver(action);
        requests.spawn(async move {
            let _slot = slot;
            request.await
        });
    }
    while let Some(request) = requests.join_next().await {
        let (id, attempts, took) = request??;
        sent.ids.insert(id);
        sent.repeated += usize::from(attempts > 1);
        sent.slowest = sent.slowest.max(took);
    }
    Ok(sent)
}

impl One {
    async fn deliver(self, action: &'static str) -> Result<(Uuid, u32, Duration)> {
        let id = Uuid::new_v4();
        let body = json!({"action": action, action: {"name": self.name, "data": id}});
        let started = Instant::now();
        let mut pause = REPEAT_AFTER;
        for attempt in 1.. {
            let request = self.broker.post("/handle", &body).header("idempotency-key", id.to_string());
            let refused = match Reply::of(request).await {
                Ok(reply) if reply.status == 202 => {
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                    return Ok((id, attempt, started.elapsed()));
                }
                // All requests come from one address, whose requests in flight are bounded.
                Ok(reply) if matches!(reply.status, 429 | 503) => anyhow!("{}: {}", reply.status, reply.body),
                // Clients do not repeat after other statuses.
                Ok(reply) => {
                    return Err(anyhow!("{action} failed with status {}: {}", reply.status, reply.body));
                }
                Err(error) => error,
            };
            if started.elapsed() > ACKNOWLEDGED_WITHIN {
                let failed =
                    format!("{action} not acknowledged within {ACKNOWLEDGED_WITHIN:?}, {attempt} attempts");
                return Err(refused.context(failed));
            }
            // With jitter: otherwise all that failed together repeat together.
            sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = REPEAT_AFTER_AT_MOST.min(pause * 2);
        }
        Err(anyhow!("unreachable: the loop does not end"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_lost_duplicated_and_unknown_entries() {
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let both = BTreeSet::from([first, second]);
        let error = |stored: &[(Uuid, usize)]| {
            check(&both, &stored.iter().copied().collect()).map_err(|e| e.to_string())
        };
        assert_eq!(error(&[(first, 1), (second, 1)]), Ok(()));
        assert!(error(&[(first, 1)]).unwrap_err().contains("1 lost"));
        assert!(error(&[(first, 1), (second, 2)]).unwrap_err().contains("1 duplicated"));
        let third = Uuid::from_u128(3);
        assert!(error(&[(first, 1), (second, 1), (third, 1)]).unwrap_err().contains("1 never sent"));
    }
}
