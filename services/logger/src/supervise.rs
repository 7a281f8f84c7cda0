//! Watches the store: readiness, `/status`, migration, and retention if the store has no TTL indexes.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use weft_runtime::clock::Clock;
use weft_runtime::lifecycle::Shutdown;
use weft_runtime::store::StoreWatch;
use weft_runtime::telemetry::chain;

use crate::metrics::Metrics;
use crate::retention;
use crate::store::{Cause, Expiry, LogStore, StoreError};

/// Name of the store in `/status` and `/readyz`.
pub const STORE: &str = "mongodb";
/// How long a migration delays readiness. Building an index over many entries takes longer and continues in the background.
const MIGRATION_DELAYS_READY: Duration = Duration::from_secs(3);

/// Watches one store.
#[derive(Clone)]
pub struct Supervisor {
    /// The store.
    pub store: Arc<dyn LogStore>,
    /// How long entries are kept.
    pub retention: Option<Duration>,
    /// Current time.
    pub clock: Arc<dyn Clock>,
    /// Reports to `/readyz` and `/status`.
    pub watch: StoreWatch,
    /// Metrics.
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
        let mut migration = Migration::Due;
        loop {
            let next = match self.store.check().await {
                Ok(version) => self.found(&version, &mut migration).await,
                Err(error) => {
                    let migrated = matches!(migration, Migration::Done);
                    self.watch.failed(&error, Some(&error), migrated)
                }
            };
            sleep(next).await;
        }
    }

    /// The store is available: migrates it if necessary. Returns the time until the next check.
    async fn found(&mut self, version: &str, migration: &mut Migration) -> Duration {
        if matches!(migration, Migration::Due) {
            self.watch.migrating(version, "indexes and retention are being set up");
            *migration = self.migrate();
        }
        if matches!(migration, Migration::Failed) {
            *migration = self.migrate();
        }
        if let Migration::Running(task) = migration {
            let Ok(ended) = timeout(MIGRATION_DELAYS_READY, task).await else {
                return self.watch.usable(version, "indexes are being built; searches are slow until then");
            };
            match ended.unwrap_or_else(|error| Err(StoreError::Failed(Cause::new(error)))) {
                Ok(expiry) => self.migrated(expiry),
                Err(error) => {
                    let reason = chain(&error);
                    tracing::warn!(
                        store = STORE,
                        error = reason,
                        "failed to set up indexes and retention, will try again"
                    );
                    *migration = Migration::Failed;
                    return self.watch.usable(version, &reason);
                }
            }
            *migration = Migration::Done;
        }
        self.watch.well(version)
    }

    fn migrate(&self) -> Migration {
        let (store, retention) = (Arc::clone(&self.store), self.retention);
        Migration::Running(tokio::spawn(async move { store.migrate(retention).await }))
    }

    fn migrated(&self, expiry: Expiry) {
        if let (Expiry::Logger, Some(keep)) = (expiry, self.retention) {
            let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
            tokio::spawn(retention::run(store, clock, keep, self.metrics.clone()));
        }
    }
}

/// State of the migration.
enum Migration {
    Due,
    Running(JoinHandle<Result<Expiry, StoreError>>),
    /// Repeated at the next check; the logger stays ready.
    Failed,
    Done,
}

#[cfg(test)]
mod tests {
    use weft_runtime::health::Health;
    use weft_runtime::status::StatusBoard;

    use super::*;
    use crate::testing::{FakeStore, clock, metrics};

    #[tokio::test(start_paused = true)]
    async fn stays_ready_while_an_index_is_built_or_fails() {
        let (store, health, board) =
            (Arc::new(FakeStore::gated_migration()), Health::default(), StatusBoard::default());
        let mut supervisor = Supervisor {
            store: store.clone(),
            retention: None,
            clock: clock(),
            watch: StoreWatch::new(STORE, &health, board.clone()),
            metrics: metrics(),
        };
        let mut migration = Migration::Due;
        let status = || board.all()[STORE].clone();

        supervisor.found("7.0", &mut migration).await;
        assert!(health.is_ready());
        let message = status().message.unwrap();
        assert!(!status().migrated && message.contains("indexes are being built"), "{message}");

        *store.fail.lock().unwrap() = Some(StoreError::Failed(Cause::new("disk full")));
        store.migration.add_permits(1);
        supervisor.found("7.0", &mut migration).await;
        assert!(health.is_ready());
        let message = status().message.unwrap();
        assert!(!status().migrated && message.contains("disk full"), "{message}");

        *store.fail.lock().unwrap() = None;
        store.migration.add_permits(1);
        supervisor.found("7.0", &mut migration).await;
        assert!(health.is_ready() && status().migrated);
    }
}
