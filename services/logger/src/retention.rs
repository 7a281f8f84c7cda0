//! Deletes expired entries, for stores without TTL indexes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use weft_runtime::clock::Clock;
use weft_runtime::telemetry::chain;

use crate::metrics::Metrics;
use crate::store::{LogStore, StoreError};

/// Entries deleted at once. Small, so that other work can run in between.
const BATCH: i64 = 1_000;
const PAUSE: Duration = Duration::from_millis(100);
/// Bounds of the interval between two rounds. Each round may cost the store a full scan.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
const MAX_INTERVAL: Duration = Duration::from_secs(3_600);
/// Maximum delay of the first round. A delay avoids a scan at every start; it is short so that a logger that restarts often also
/// deletes.
const MAX_FIRST_DELAY: Duration = Duration::from_secs(300);

/// Runs until it is dropped. Several replicas may run at once.
pub async fn run(
    store: Arc<dyn LogStore>,
    clock: Arc<dyn Clock>,
    keep: Duration,
    metrics: Metrics,
) -> Infallible {
    let every = (keep / 10).clamp(MIN_INTERVAL, MAX_INTERVAL);
    sleep(every.min(MAX_FIRST_DELAY)).await;
    loop {
        if let Err(error) = round(&*store, &*clock, keep, &metrics).await {
            tracing::warn!(error = chain(&error), "failed to delete expired entries, will try again");
        }
        sleep(every).await;
    }
}

/// Deletes all expired entries in batches.
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
        // A batch may be short because another replica deletes too, so only an empty batch is the end.
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
    async fn deletes_only_entries_received_before_the_retention_time() {
        let store = FakeStore::default();
        let now = clock().now().as_millisecond();
        let (mut old, mut young) = (entry(1), entry(2));
        (old.received_ms, young.received_ms) = (now - 60_001, now - 59_999);
        // The entry's own time does not count: it was received just now.
        young.time_ms = 0;
        store.insert(vec![old, young]).await.unwrap();
        round(&store, &*clock(), Duration::from_secs(60), &metrics()).await.unwrap();
        assert_eq!(store.ids(), [entry(2).id]);
    }
}
