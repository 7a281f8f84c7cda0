//! The store in PostgreSQL.
//!
//! Statements are checked against the migrations at compile time. `.sqlx` caches the database's descriptions of the statements, so that
//! a build needs no database (`prepare-queries.sh` updates the cache).

mod changes;
mod error;
mod failed;
mod keys;
mod limits;
mod outbox;
mod resets;
pub mod roles;
mod rows;
mod sessions;
mod unit;
mod users;

use std::str::FromStr as _;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::migrate::{Migrate as _, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgPool, query, query_scalar};
use tokio::time::timeout;

use super::{Cause, Cutoffs, StoreError};
use crate::trace::{DatabaseSpans, StoreAddress};
use error::{classify, classify_migration};
use rows::to_db;
use unit::Statements;

/// Timeouts enforced by the server: of a statement whose client no longer waits, and of a transaction whose client sends nothing.
const SERVER_TIMEOUTS: [(&str, &str); 2] =
    [("statement_timeout", "10s"), ("idle_in_transaction_session_timeout", "10s")];

static MIGRATIONS: Migrator = sqlx::migrate!();

/// The connection to PostgreSQL.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// `DATABASE_URL` or `DATABASE_URL_FILE`, required.
    pub url: SecretString,
    /// `AUTH_STORE_TIMEOUT`, default `1500ms`: timeout of a store call. The caller's deadline applies too.
    pub timeout: Duration,
    /// `AUTH_STORE_CONNECTIONS`, default 10.
    pub connections: u32,
}

/// The store in a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore {
    pool: PgPool,
    options: PgConnectOptions,
    timeout: Duration,
    statements: Statements,
}

impl PostgresStore {
    /// A store that connects on first use; `None` if the URL is invalid.
    pub fn new(config: &StoreConfig) -> Option<Self> {
        let options = options(config)?;
        let address = StoreAddress {
            host: options.get_host().to_owned(),
            port: options.get_port(),
            database: options.get_database().unwrap_or(options.get_username()).to_owned(),
        };
        let pool = PgPoolOptions::new()
            .max_connections(config.connections)
            .acquire_timeout(config.timeout)
            .acquire_slow_threshold(Duration::MAX)
            .connect_lazy_with(options.clone().options(SERVER_TIMEOUTS));
        let statements = Statements(DatabaseSpans::new(address));
        Some(Self { pool, options, timeout: config.timeout, statements })
    }
}

/// Connection options; `None` if the URL is invalid.
fn options(config: &StoreConfig) -> Option<PgConnectOptions> {
    let options = PgConnectOptions::from_str(config.url.expose_secret()).ok()?;
    // The driver's logging is off: when it asks whether its log lines are enabled, tracing-subscriber's filters keep a wrong state,
    // and the next span on that thread is lost. The spans here have more information anyway.
    let options = options
        .application_name("weft-authentication")
        .options([("client_min_messages", "warning")])
        .disable_statement_logging();
    Some(options)
}

impl PostgresStore {
    /// Queries the server's version.
    ///
    /// # Errors
    /// When the store is unavailable or refuses the credentials.
    pub async fn check(&self) -> Result<String, StoreError> {
        self.bounded(|_, connection| {
            Box::pin(async move {
                let version = query_scalar!(r#"SELECT current_setting('server_version') AS "version!""#);
                version.fetch_one(connection).await.map_err(classify)
            })
        })
        .await
    }

    /// Migrates the schema. Safe to run in several replicas at once.
    ///
    /// # Errors
    /// When the store is unavailable or a migration fails. Idempotent.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        // This connection has no statement timeout: a change of a large table takes long, and so does waiting for the migration lock of
        // another replica or a rotation. The connection is always closed at the end, which releases the lock.
        const WITHIN: Duration = Duration::from_secs(600);
        let work = async {
            let connected = timeout(self.timeout, self.options.connect()).await;
            let mut connection =
                connected.map_err(|_| StoreError::TimedOut(self.timeout))?.map_err(classify)?;
            connection.lock().await.map_err(classify_migration)?;
            roles::assume_owner(&mut connection).await?;
            let mut migrator = Migrator { migrations: MIGRATIONS.migrations.clone(), ..Migrator::DEFAULT };
            // After a rollback the schema may be newer. Migrations keep it usable for the previous version.
            migrator.set_ignore_missing(true).set_locking(false);
            // `run` is not possible here: rustc finds its future not general enough to be spawned.
            migrator.run_direct(None, &mut connection, false).await.map_err(classify_migration)
        };
        timeout(WITHIN, work).await.map_err(|_| StoreError::TimedOut(WITHIN))?
    }

    /// Deletes expired rows.
    ///
    /// # Errors
    /// When the store is unavailable. Idempotent.
    pub async fn purge(&self, cutoffs: &Cutoffs) -> Result<(), StoreError> {
        let Cutoffs { now, failures_before, sessions_before } = *cutoffs;
        self.bounded(move |_, connection| {
            Box::pin(async move {
                query!("DELETE FROM sign_in_addresses WHERE next_at < $1", to_db(now))
                    .execute(&mut *connection)
                    .await
                    .map_err(classify)?;
                query!("DELETE FROM sign_in_failures WHERE last_at < $1", to_db(failures_before))
                    .execute(&mut *connection)
                    .await
                    .map_err(classify)?;
                query!("DELETE FROM password_reset_limits WHERE next_at < $1", to_db(now))
                    .execute(&mut *connection)
                    .await
                    .map_err(classify)?;
                query!("DELETE FROM password_resets WHERE expires_at < $1", to_db(now))
                    .execute(&mut *connection)
                    .await
                    .map_err(classify)?;
                query!("DELETE FROM sessions WHERE expires_at < $1", to_db(sessions_before))
                    .execute(&mut *connection)
                    .await
                    .map_err(classify)?;
                Ok(())
            })
        })
        .await
    }
}
