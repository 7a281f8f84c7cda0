//! The store in PostgreSQL.
//!
//! Statements are checked against the migrations when they are compiled; `.sqlx` has what the database said of them, so
//! that a build needs none (`prepare-queries.sh` asks anew).

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

use secrecy::ExposeSecret as _;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgPool, query, query_scalar};
use tokio::time::timeout;

use super::{Cause, Over, StoreError};
use crate::config::StoreConfig;
use crate::trace::{DatabaseSpans, StoreAddress};
use error::{classify, unmigrated};
use rows::to_db;
use unit::Statements;

/// Time limits that the server itself enforces: for a statement that nobody waits for, and for a transaction whose client sends
/// nothing more.
const SERVER_TIMEOUTS: [(&str, &str); 2] =
    [("statement_timeout", "10s"), ("idle_in_transaction_session_timeout", "10s")];

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Accounts in a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore {
    pool: PgPool,
    options: PgConnectOptions,
    timeout: Duration,
    statements: Statements,
}

impl PostgresStore {
    /// A store that connects when it is first asked; `None` when the URL is none.
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

/// How to connect; `None` when the URL is none.
fn options(config: &StoreConfig) -> Option<PgConnectOptions> {
    let options = PgConnectOptions::from_str(config.url.expose_secret()).ok()?;
    // Whenever the driver asks whether anybody listens to its log lines, tracing-subscriber's filters keep a wrong note of
    // it, and the next span on that thread is lost. So it has nothing to say: the spans here tell more.
    let options = options
        .application_name("weft-authentication")
        .options([("client_min_messages", "warning")])
        .disable_statement_logging();
    Some(options)
}

impl PostgresStore {
    /// Asks for the store's version.
    ///
    /// # Errors
    /// When it can't be reached, or refuses our credentials.
    pub async fn check(&self) -> Result<String, StoreError> {
        self.bounded(|_, connection| {
            Box::pin(async move {
                let version = query_scalar!(r#"SELECT current_setting('server_version') AS "version!""#);
                version.fetch_one(connection).await.map_err(classify)
            })
        })
        .await
    }

    /// Brings the schema to what this version wants. May run in several replicas at once.
    ///
    /// # Errors
    /// When it can't be done now; it may be repeated.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        // A change of a large table takes its time, and so does the replica that has the lock: this connection knows no
        // timeout for statements. It is closed at the end, whatever happens, and the lock with it.
        const WITHIN: Duration = Duration::from_secs(600);
        let work = async {
            let one = PgPoolOptions::new().max_connections(1).acquire_timeout(self.timeout);
            let pool = one.connect_with(self.options.clone()).await.map_err(classify)?;
            let mut migrator = Migrator { migrations: MIGRATIONS.migrations.clone(), ..Migrator::DEFAULT };
            // A newer version was here and was rolled back: it has left the schema usable for the one before it.
            migrator.set_ignore_missing(true);
            let outcome = migrator.run(&pool).await.map_err(unmigrated);
            pool.close().await;
            outcome
        };
        timeout(WITHIN, work).await.map_err(|_| StoreError::TimedOut(WITHIN))?
    }

    /// Deletes what no longer matters.
    ///
    /// # Errors
    /// When it can't be done now; it may be repeated.
    pub async fn purge(&self, over: &Over) -> Result<(), StoreError> {
        let Over { now, failures_before, sessions_before } = *over;
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
