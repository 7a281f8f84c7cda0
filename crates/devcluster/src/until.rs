//! Waiting for a condition instead of for time to pass.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::time::{Instant, sleep, timeout};

const LOOK_EVERY: Duration = Duration::from_millis(100);
/// One look may hang longer than the condition has time; this much more it gets.
const LAST_LOOK: Duration = Duration::from_secs(10);

/// Looks again and again until `look` succeeds, and returns what it found.
///
/// # Errors
/// When it has not succeeded in time: with what was waited for and why the last look failed.
///
/// # Cancellation
/// Dropping the future drops the look under way.
pub async fn until<T, F, Fut>(what: &str, within: Duration, mut look: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let looked =
            timeout(left + LAST_LOOK, look()).await.unwrap_or_else(|_| Err(anyhow!("the look hung")));
        match looked {
            Ok(found) => return Ok(found),
            Err(reason) if Instant::now() >= deadline => {
                return Err(reason).with_context(|| format!("{what}: not within {within:?}"));
            }
            Err(_) => sleep(LOOK_EVERY).await,
        }
    }
}
