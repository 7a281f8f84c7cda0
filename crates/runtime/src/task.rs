//! Work that is finished even when its caller stops waiting.

use std::panic::resume_unwind;

use tracing::Instrument as _;

/// Starts `work` as a task of its own, in the current span, and returns a future that waits for it.
///
/// Drivers of stores and brokers keep state between an `await` and the next: a connection whose future was dropped in the middle
/// of an exchange may be reused in a state that nobody expects. Such work runs here.
///
/// # Cancellation
/// Dropping the returned future drops only the wait. So `work` must end by itself: give it a time limit.
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
    async fn work_ends_although_its_caller_has_stopped_waiting() {
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
    async fn a_panic_reaches_the_caller() {
        finish(async { panic!("of the work") }).await
    }
}
