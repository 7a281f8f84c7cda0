//! Supervises the store: readiness, `/status`, migrations, signing keys, the first user, deletion of expired rows.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use weft_runtime::lifecycle::Shutdown;
use weft_runtime::store::StoreWatch;
use weft_runtime::telemetry::chain;

use crate::accounts::{AccountError, Accounts};
use crate::config::FirstUser;
use crate::keys::KeyError;
use crate::limits::Failures;
use crate::outbox::Recipient;
use crate::session::before;
use crate::store::{Cutoffs, StoreError};

const PURGE_EVERY: Duration = Duration::from_secs(60);
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// Ended sessions are kept for this long, for investigations.
const SESSIONS_KEPT_FOR: Duration = Duration::from_secs(7 * 86_400);

pub struct Supervisor {
    pub accounts: Accounts,
    /// Created unless a user has the address.
    pub first_user: Option<FirstUser>,
    /// State shown at `/readyz` and `/status`.
    pub watch: StoreWatch,
}

/// What has been done since the start.
#[derive(Debug, Default, Clone, Copy)]
struct Progress {
    migrated: bool,
    first_user: bool,
    keys_at: Option<Instant>,
    purged_at: Option<Instant>,
}

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("failed to prepare the signing keys")]
    Keys(#[source] KeyError),
    #[error("failed to create the first user")]
    FirstUser(#[source] AccountError),
}

impl Trouble {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error)
            | Self::Keys(KeyError::Store(error))
            | Self::FirstUser(AccountError::Store(error)) => Some(error),
            Self::Keys(_) | Self::FirstUser(_) => None,
        }
    }
}

impl Supervisor {
    /// Runs until shutdown is requested.
    pub async fn run(self, shutdown: Shutdown) {
        let count = count(self.accounts.clone());
        tokio::select! {
            () = shutdown.requested() => {}
            never = self.watch() => match never {},
            never = count => match never {},
        }
    }

    async fn watch(mut self) -> std::convert::Infallible {
        let mut progress = Progress::default();
        loop {
            let next = match self.check(&mut progress).await {
                Ok(version) => self.watch.well(&version).min(self.accounts.keys.tick()),
                Err(error) => self.watch.failed(&error, error.store_error(), progress.migrated),
            };
            sleep(next).await;
        }
    }

    async fn check(&self, progress: &mut Progress) -> Result<String, Trouble> {
        let Accounts { store, keys, .. } = &self.accounts;
        let version = store.check().await?;
        if !progress.migrated {
            // A migration of a large table may take long.
            self.watch.migrating(&version, "the schema is being migrated");
            store.migrate().await?;
            progress.migrated = true;
        }
        if has_elapsed(progress.keys_at, keys.tick()) {
            keys.refresh(store).await.map_err(Trouble::Keys)?;
            progress.keys_at = Some(Instant::now());
        }
        if !progress.first_user {
            if let Some(first) = &self.first_user {
                self.accounts.ensure_first_user(first).await.map_err(Trouble::FirstUser)?;
            }
            progress.first_user = true;
        }
        if has_elapsed(progress.purged_at, PURGE_EVERY) {
            self.purge().await;
            progress.purged_at = Some(Instant::now());
        }
        Ok(version)
    }

    /// Deletes expired rows. A failure does not affect readiness, because no caller depends on it.
    async fn purge(&self) {
        let now = self.accounts.clock.now();
        let cutoffs = Cutoffs {
            now,
            failures_before: before(now, Failures::KEPT_FOR),
            sessions_before: before(now, SESSIONS_KEPT_FOR),
        };
        if let Err(error) = self.accounts.store.purge(&cutoffs).await {
            tracing::warn!(error = chain(&error), "failed to delete expired rows; will be retried");
        }
    }
}

/// Updates the metrics of the outbox. Separate from the supervision, so that a slow count does not affect readiness.
async fn count(accounts: Accounts) -> std::convert::Infallible {
    loop {
        for recipient in Recipient::ALL {
            match accounts.store.backlog(recipient).await {
                Ok(backlog) => accounts.metrics.backlog(&backlog, accounts.clock.now()),
                // The supervisor reports an unavailable store.
                Err(error) => tracing::debug!(error = chain(&error), "failed to count the outbox"),
            }
        }
        sleep(COUNT_EVERY).await;
    }
}

fn has_elapsed(since: Option<Instant>, wait: Duration) -> bool {
    since.is_none_or(|since| since.elapsed() >= wait)
}
