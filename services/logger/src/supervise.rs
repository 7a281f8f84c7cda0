//! Keeps an eye on the store: readiness, `/status`, migration, and retention where the store has none.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use weft_runtime::clock::Clock;
use weft_runtime::health::Condition;
use weft_runtime::lifecycle::Shutdown;
use weft_runtime::status::{StatusBoard, StoreStatus};
use weft_runtime::telemetry::chain;

use crate::metrics::Metrics;
use crate::retention;
use crate::store::{Expiry, LogStore, StoreError};

/// The store's name on `/status` and `/readyz`.
pub const STORE: &str = "mongodb";

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A pod waits for this before it becomes ready, so it is short.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Looks after one store.
#[derive(Clone)]
pub struct Supervisor {
    /// The store.
    pub store: Arc<dyn LogStore>,
    /// How long entries are kept.
    pub retention: Option<Duration>,
    /// The present moment.
    pub clock: Arc<dyn Clock>,
    /// What readiness shows.
    pub ready: Condition,
    /// What `/status` shows.
    pub status: StatusBoard,
    /// What the logger counts.
    pub metrics: Metrics,
}

impl std::fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Supervisor").finish_non_exhaustive()
    }
}

impl Supervisor {
    /// Runs until shutdown is requested.
    pub async fn run(self, shutdown: Shutdown) {
        tokio::select! {
            () = shutdown.requested() => {}
            never = self.watch() => match never {},
        }
    }

    async fn watch(self) -> std::convert::Infallible {
        let mut migrated = false;
        let mut was_well = None;
        loop {
            let outcome = self.look(&mut migrated).await;
            self.tell(&outcome, migrated);
            let well = outcome.is_ok();
            if was_well.replace(well) != Some(well) {
                match &outcome {
                    Ok(version) => tracing::info!(version, "the store is ready"),
                    Err(error) => tracing::warn!(error = chain(error), "the store is not ready"),
                }
            }
            sleep(if well { LOOK_EVERY } else { LOOK_AGAIN }).await;
        }
    }

    async fn look(&self, migrated: &mut bool) -> Result<String, StoreError> {
        let version = self.store.check().await?;
        if !*migrated {
            self.tell_of_migration(&version);
            let expiry = self.store.migrate(self.retention).await?;
            *migrated = true;
            if let (Expiry::Logger, Some(keep)) = (expiry, self.retention) {
                let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
                tokio::spawn(retention::run(store, clock, keep, self.metrics.clone()));
            }
        }
        Ok(version)
    }

    /// Making an index over what is already there takes its time.
    fn tell_of_migration(&self, version: &str) {
        const MESSAGE: &str = "indexes and retention are being set up";
        self.ready.missing(MESSAGE);
        let status = StoreStatus {
            reachable: true,
            authenticated: true,
            migrated: false,
            version: Some(version.to_owned()),
            message: Some(MESSAGE.to_owned()),
        };
        self.status.set(STORE, status);
    }

    fn tell(&self, outcome: &Result<String, StoreError>, migrated: bool) {
        match outcome {
            Ok(_) => self.ready.fulfilled(),
            Err(error) => self.ready.missing(chain(error)),
        }
        self.status.update(STORE, |status| {
            let version = outcome.as_ref().ok().cloned().or_else(|| status.version.take());
            let (reachable, authenticated) = match outcome {
                Ok(_) | Err(StoreError::Failed(_)) => (true, true),
                Err(StoreError::Unauthorized(_)) => (true, false),
                Err(StoreError::Unavailable(_) | StoreError::TimedOut(_)) => (false, false),
            };
            *status = StoreStatus {
                reachable,
                authenticated,
                migrated,
                version,
                message: outcome.as_ref().err().map(|error| chain(error)),
            };
        });
    }
}
