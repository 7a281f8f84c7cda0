//! Deletes what has been kept long enough, for stores that don't do it themselves.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use weft_runtime::clock::Clock;
use weft_runtime::telemetry::chain;

use crate::metrics::Metrics;
use crate::store::{LogStore, StoreError};

/// Entries deleted at a time, so that other work gets its turn between.
const BATCH: i64 = 1_000;
const PAUSE: Duration = Duration::from_millis(100);
/// Between two rounds. Each may cost the store a scan of everything.
const SOONEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(3_600);
/// Before the first round, so that no start begins with a scan; short, so that a logger that restarts often deletes too.
const AT_START: Duration = Duration::from_secs(300);

/// Deletes for ever. Several replicas may do it at once.
pub async fn run(
    store: Arc<dyn LogStore>,
    clock: Arc<dyn Clock>,
    keep: Duration,
    metrics: Metrics,
) -> Infallible {
    let every = (keep / 10).clamp(SOONEST, LATEST);
    sleep(every.min(AT_START)).await;
    loop {
        if let Err(error) = round(&*store, &*clock, keep, &metrics).await {
            tracing::warn!(error = chain(&error), "failed to delete expired entries, will try again");
        }
        sleep(every).await;
    }
}

/// Deletes, a batch at a time, everything that has expired by now.
async fn round(
    store: &dyn LogStore,
    clock: &dyn Clock,
    keep: Duration,
    metrics: &Metrics,
) -> Result<(), StoreError> {
    let keep_ms = i64::try_from(keep.as_millis()).unwrap_or(i64::MAX);
    let before_ms = clock.now().as_millisecond().saturating_sub(keep_ms);
    loop {
        let deleted = store.delete_received_before(before_ms, BATCH).await?;
        metrics.expired(deleted);
        // A replica that deletes beside this one makes batches short: only an empty one is the end.
        if deleted == 0 {
            return Ok(());
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeStore, clock, entry, metrics};

    #[tokio::test]
    async fn only_what_was_received_before_the_time_kept_is_deleted() {
        let store = FakeStore::default();
        let now = clock().now().as_millisecond();
        let (mut old, mut young) = (entry(1), entry(2));
        (old.received_ms, young.received_ms) = (now - 60_001, now - 59_999);
        // What it says of its own time does not count: it has just arrived.
        young.time_ms = 0;
        store.insert(vec![old, young]).await.unwrap();
        round(&store, &*clock(), Duration::from_secs(60), &metrics()).await.unwrap();
        assert_eq!(store.ids(), [entry(2).id]);
    }
}
