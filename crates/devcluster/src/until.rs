//! Waits for a condition instead of sleeping.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tokio::time::{Instant, sleep, timeout};

const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Extra time for the last check, which may start just before the deadline.
const LAST_CHECK: Duration = Duration::from_secs(10);

/// Repeats `check` until it succeeds, and returns its result.
///
/// # Errors
/// When it times out; the message has `what` and the error of the last check.
///
/// # Cancellation
/// Dropping the future cancels the running check.
pub async fn until<T, F, Fut>(what: &str, within: Duration, mut check: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let deadline = Instant::now() + within;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let checked =
            timeout(left + LAST_CHECK, check()).await.unwrap_or_else(|_| Err(anyhow!("the check hung")));
        match checked {
            Ok(found) => return Ok(found),
            Err(reason) if Instant::now() >= deadline => {
                return Err(reason).with_context(|| format!("timed out after {within:?}: {what}"));
            }
            Err(_) => sleep(CHECK_INTERVAL).await,
        }
    }
}
