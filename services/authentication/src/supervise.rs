//! Keeps an eye on the store: readiness, `/status`, migration, signing keys, the first user, and what can go.

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
use crate::store::{Over, StoreError};

/// The store's name on `/status` and `/readyz`.
pub const STORE: &str = "postgres";

const PURGE_EVERY: Duration = Duration::from_secs(60);
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// Ended sessions stay this long, for whoever looks into what happened.
const SESSIONS_KEPT_FOR: Duration = Duration::from_secs(7 * 86_400);

/// Looks after the store.
pub struct Supervisor {
    /// What is looked after.
    pub accounts: Accounts,
    /// Made when nobody has the address.
    pub first_user: Option<FirstUser>,
    /// What `/readyz` and `/status` show.
    pub watch: StoreWatch,
}

/// How far the store is.
#[derive(Debug, Default, Clone, Copy)]
struct Progress {
    migrated: bool,
    first_user: bool,
    keys_at: Option<Instant>,
    purged_at: Option<Instant>,
}

/// What is wrong with the store.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("failed to prepare the signing keys")]
    Keys(#[source] KeyError),
    #[error("failed to make the first user")]
    FirstUser(#[source] AccountError),
}

impl Trouble {
    fn of_store(&self) -> Option<&StoreError> {
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
            let next = match self.look(&mut progress).await {
                Ok(version) => self.watch.well(&version).min(self.accounts.keys.tick()),
                Err(error) => self.watch.failed(&error, error.of_store(), progress.migrated),
            };
            sleep(next).await;
        }
    }

    async fn look(&self, progress: &mut Progress) -> Result<String, Trouble> {
        let Accounts { store, keys, .. } = &self.accounts;
        let version = store.check().await?;
        if !progress.migrated {
            // A change of a large table takes its time.
            self.watch.migrating(&version, "the schema is being migrated");
            store.migrate().await?;
            progress.migrated = true;
        }
        if is_over(progress.keys_at, keys.tick()) {
            keys.refresh(&**store).await.map_err(Trouble::Keys)?;
            progress.keys_at = Some(Instant::now());
        }
        if !progress.first_user {
            if let Some(first) = &self.first_user {
                self.accounts.ensure_first_user(first).await.map_err(Trouble::FirstUser)?;
            }
            progress.first_user = true;
        }
        if is_over(progress.purged_at, PURGE_EVERY) {
            self.purge().await;
            progress.purged_at = Some(Instant::now());
        }
        Ok(version)
    }

    /// Nobody waits for this, so a failure is not the store's.
    async fn purge(&self) {
        let now = self.accounts.clock.now();
        let over = Over {
            now,
            failures_before: before(now, Failures::KEPT_FOR),
            sessions_before: before(now, SESSIONS_KEPT_FOR),
        };
        if let Err(error) = self.accounts.store.purge(&over).await {
            tracing::warn!(error = chain(&error), "failed to delete what is over, will try again");
        }
    }
}

/// Keeps the metrics of the outbox up to date. Apart from the look at the store, since a count says nothing of whether the store works.
async fn count(accounts: Accounts) -> std::convert::Infallible {
    loop {
        for recipient in Recipient::ALL {
            match accounts.store.backlog(recipient).await {
                Ok(backlog) => accounts.metrics.backlog(&backlog, accounts.clock.now()),
                // Readiness and the log report a store that is away.
                Err(error) => tracing::debug!(error = chain(&error), "failed to count the outbox"),
            }
        }
        sleep(COUNT_EVERY).await;
    }
}

fn is_over(since: Option<Instant>, wait: Duration) -> bool {
    since.is_none_or(|since| since.elapsed() >= wait)
}
