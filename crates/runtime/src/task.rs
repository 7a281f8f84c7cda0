//! Runs work to completion even when the caller stops waiting.

use std::panic::resume_unwind;

use tracing::Instrument as _;

/// Spawns `work` as a task, in the current span, and returns a future that waits for the task.
///
/// Drivers of stores and brokers keep state between two `await`s. If a future is dropped in the middle of an exchange, its
/// connection may be reused in an unexpected state. Run such calls here.
///
/// # Cancellation
/// Dropping the returned future does not cancel `work`, so `work` needs a timeout of its own.
///
/// # Panics
/// When `work` panics. Must be called on a Tokio runtime.
pub fn finish<F>(work: F) -> impl Future<Output = F::Output> + Send
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let task = tokio::spawn(work.in_current_span());
    async move {
        match task.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(output) => output,
            Err(Ok(panic)) => resume_unwind(panic),
            // The runtime is being shut down, and this future with it.
            Err(Err(_)) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn completes_after_the_caller_stops_waiting() {
        let (begin, begun) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel();
        drop(finish(async move {
            begun.await.unwrap();
            yield_now().await;
            end.send("done").unwrap();
        }));
        begin.send(()).unwrap();
        assert_eq!(ended.await, Ok("done"));
    }

    #[tokio::test]
    #[should_panic(expected = "of the work")]
    async fn propagates_a_panic_to_the_caller() {
        finish(async { panic!("of the work") }).await
    }
}
