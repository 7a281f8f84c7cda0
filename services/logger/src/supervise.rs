//! Keeps an eye on the store: readiness, `/status`, migration, and retention where the store has none.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use weft_runtime::clock::Clock;
use weft_runtime::lifecycle::Shutdown;
use weft_runtime::store::StoreWatch;

use crate::metrics::Metrics;
use crate::retention;
use crate::store::{Expiry, LogStore, StoreError};

/// The store's name on `/status` and `/readyz`.
pub const STORE: &str = "mongodb";

/// Looks after one store.
#[derive(Clone)]
pub struct Supervisor {
    /// The store.
    pub store: Arc<dyn LogStore>,
    /// How long entries are kept.
    pub retention: Option<Duration>,
    /// The present moment.
    pub clock: Arc<dyn Clock>,
    /// What `/readyz` and `/status` show.
    pub watch: StoreWatch,
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

    async fn watch(mut self) -> std::convert::Infallible {
        let mut migrated = false;
        loop {
            let next = match self.look(&mut migrated).await {
                Ok(version) => self.watch.well(&version),
                Err(error) => self.watch.failed(&error, Some(&error), migrated),
            };
            sleep(next).await;
        }
    }

    async fn look(&self, migrated: &mut bool) -> Result<String, StoreError> {
        let version = self.store.check().await?;
        if !*migrated {
            // Making an index over what is already there takes its time.
            self.watch.migrating(&version, "indexes and retention are being set up");
            let expiry = self.store.migrate(self.retention).await?;
            *migrated = true;
            if let (Expiry::Logger, Some(keep)) = (expiry, self.retention) {
                let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
                tokio::spawn(retention::run(store, clock, keep, self.metrics.clone()));
            }
        }
        Ok(version)
    }
}
