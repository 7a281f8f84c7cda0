//! Counts the stored dead letters for `/metrics`, and deletes old ones if an age limit is set.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use weft_runtime::clock::Clock;
use weft_runtime::telemetry::chain;

use crate::metrics::Metrics;
use crate::store::StoreError;
use crate::store::mongo::letters::MongoLetters;

const EVERY: Duration = Duration::from_secs(10);
/// Letters deleted at once. Small, so that other work can run in between.
const BATCH: usize = 100;

/// Runs until it is dropped. Several replicas may run at once.
pub async fn run(
    letters: MongoLetters,
    max_age: Option<Duration>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
) -> Infallible {
    loop {
        if let Err(error) = round(&letters, max_age, &*clock, &metrics).await {
            tracing::debug!(error = chain(&error), "failed to count or expire dead letters, will try again");
        }
        sleep(EVERY).await;
    }
}

async fn round(
    letters: &MongoLetters,
    max_age: Option<Duration>,
    clock: &dyn Clock,
    metrics: &Metrics,
) -> Result<(), StoreError> {
    if let Some(max_age) = max_age {
        let age_ms = i64::try_from(max_age.as_millis()).unwrap_or(i64::MAX);
        let before_ms = clock.now().as_millisecond().saturating_sub(age_ms);
        loop {
            let deleted = letters.remove_before(before_ms, BATCH).await?;
            if deleted == 0 {
                break;
            }
            metrics.letters_expired(deleted);
            let max_age_s = max_age.as_secs();
            tracing::warn!(deleted, max_age_s, "deleted dead letters older than LOGGER_DEAD_LETTERS_MAX_AGE");
        }
    }
    metrics.letters(&letters.stock().await?, clock.now().as_millisecond());
    Ok(())
}
