//! From SIGTERM to exit: first not ready, then no new work, then what is in flight ends, and at last it is cut.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{ConfigError, Settings};
use crate::health::Health;

/// Tells every part of a process to end. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    leaving: CancellationToken,
    requested: CancellationToken,
    cut: CancellationToken,
}

/// How long each step of the end takes.
#[derive(Debug, Clone, Copy)]
pub struct Drain {
    /// From "not ready" to the first refused connection.
    pub delay: Duration,
    /// From there until what is still in flight is cut.
    pub timeout: Duration,
}

impl Drain {
    /// Reads `WEFT_DRAIN_DELAY` and `WEFT_DRAIN_TIMEOUT`.
    ///
    /// # Errors
    /// When one of them is no duration.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            delay: settings.duration("WEFT_DRAIN_DELAY", Duration::ZERO)?,
            timeout: settings.duration("WEFT_DRAIN_TIMEOUT", Duration::from_secs(20))?,
        })
    }
}

impl Shutdown {
    /// True once clients shall go elsewhere, though new work is still taken.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_cancelled()
    }

    /// Sends clients elsewhere.
    pub fn leave(&self) {
        self.leaving.cancel();
    }

    /// Ends when new work is no longer to be taken.
    pub async fn requested(&self) {
        self.requested.cancelled().await;
    }

    /// Ends when what is still in flight is to be dropped.
    pub async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// True once new work is no longer to be taken.
    pub fn is_requested(&self) -> bool {
        self.requested.is_cancelled()
    }

    /// Asks for the end, as SIGTERM does.
    pub fn request(&self) {
        self.leave();
        self.requested.cancel();
    }

    /// Cuts what is in flight.
    pub fn cut_now(&self) {
        self.request();
        self.cut.cancel();
    }
}

/// Waits for SIGTERM or SIGINT, then takes the process through its drain. A second signal cuts at once.
///
/// # Errors
/// When the signals can't be listened to.
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
        tracing::warn!("the drain timeout has passed: cutting what is still in flight");
    };
    tokio::select! {
        () = orderly => {}
        _ = terminate.recv() => tracing::warn!("second SIGTERM: cutting what is still in flight"),
        _ = interrupt.recv() => tracing::warn!("second SIGINT: cutting what is still in flight"),
    }
    shutdown.cut_now();
    Ok(())
}
