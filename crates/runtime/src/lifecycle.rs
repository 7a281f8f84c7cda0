//! Graceful shutdown after SIGTERM: first not ready, then no new work, then work in flight is finished, and at last aborted.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{ConfigError, Settings};
use crate::health::Health;

/// The shutdown signal for all parts of a process. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    leaving: CancellationToken,
    requested: CancellationToken,
    cut: CancellationToken,
}

/// Duration of each step of the shutdown.
#[derive(Debug, Clone, Copy)]
pub struct Drain {
    /// From "not ready" until new work is refused.
    pub delay: Duration,
    /// From then until work still in flight is aborted.
    pub timeout: Duration,
}

impl Drain {
    /// Reads `WEFT_DRAIN_DELAY` and `WEFT_DRAIN_TIMEOUT`.
    ///
    /// # Errors
    /// When one of them is not a duration.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            delay: settings.duration("WEFT_DRAIN_DELAY", Duration::ZERO)?,
            timeout: settings.duration("WEFT_DRAIN_TIMEOUT", Duration::from_secs(20))?,
        })
    }
}

impl Shutdown {
    /// True once clients should go to another process; new work is still accepted.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }

    /// Tells clients to go to another process.
    pub fn leave(&self) {
        self.leaving.cancel();
    }

    /// Completes when new work must no longer be accepted.
    pub async fn requested(&self) {
        self.requested.cancelled().await;
    }

    /// Completes when work in flight must be aborted.
    pub async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// True once new work must no longer be accepted.
    pub fn is_requested(&self) -> bool {
        self.requested.is_cancelled()
    }

    /// Requests shutdown: no new work is accepted.
    pub fn request(&self) {
        self.leave();
        self.requested.cancel();
    }

    /// Aborts work in flight.
    pub fn cut_now(&self) {
        self.request();
        self.cut.cancel();
    }
}

/// Waits for SIGTERM or SIGINT, then drains the process. A second signal aborts work in flight at once.
///
/// # Errors
/// When the signal handlers can't be installed.
pub async fn listen(shutdown: Shutdown, health: Health, drain: Drain) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let name = tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    };
    tracing::info!(
        signal = name,
        delay_ms = drain.delay.as_millis(),
        timeout_ms = drain.timeout.as_millis(),
        "draining"
    );
    health.drain();
    shutdown.leave();
    let orderly = async {
        tokio::time::sleep(drain.delay).await;
        shutdown.request();
        tokio::time::sleep(drain.timeout).await;
        tracing::warn!("drain timed out; aborting work in flight");
    };
    tokio::select! {
        () = orderly => {}
        _ = terminate.recv() => tracing::warn!(signal = "SIGTERM", "second signal; aborting work in flight"),
        _ = interrupt.recv() => tracing::warn!(signal = "SIGINT", "second signal; aborting work in flight"),
    }
    shutdown.cut_now();
    Ok(())
}
