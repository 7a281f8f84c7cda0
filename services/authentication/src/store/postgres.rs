//! The store in PostgreSQL.
//!
//! Statements are checked against the migrations when they are compiled; `.sqlx` has what the database said of them, so
//! that a build needs none (`prepare-queries.sh` asks anew).

mod error;
mod failed;
mod keys;
mod limits;
mod outbox;
pub mod roles;
mod rows;
mod sessions;
mod users;

use std::str::FromStr as _;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::ExposeSecret as _;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, PgPool, PgTransaction, query, query_scalar};
use tokio::time::timeout;
use weft_mesh::Deadline;

use super::{Cause, Over, Schema, StoreError};
use crate::config::StoreConfig;
use crate::trace::{DatabaseSpans, StoreAddress};
use error::{classify, unmigrated};
use rows::to_db;

/// So that "unavailable" reaches the caller before its deadline passes.
const WAY_BACK: Duration = Duration::from_millis(30);
/// A statement that the server still works on when nobody waits for it any more ends by itself.
const STATEMENT_TIMEOUT: &str = "10s";

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Accounts in a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore {
    pool: PgPool,
    options: PgConnectOptions,
    timeout: Duration,
    spans: DatabaseSpans,
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
            .connect_lazy_with(options.clone().options([("statement_timeout", STATEMENT_TIMEOUT)]));
        Some(Self { pool, options, timeout: config.timeout, spans: DatabaseSpans::new(address) })
    }

    /// Gives work no more time than its caller has left.
    async fn bounded<T>(&self, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let left = Deadline::current().map(|deadline| deadline.left().saturating_sub(WAY_BACK));
        let within = left.map_or(self.timeout, |left| left.min(self.timeout));
        timeout(within, work).await.map_err(|_| StoreError::TimedOut(within))?
    }

    /// Runs one statement in its span.
    async fn run<T>(
        &self,
        operation: &'static str,
        table: &'static str,
        statement: impl Future<Output = sqlx::Result<T>>,
    ) -> Result<T, StoreError> {
        self.spans.run(operation, table, async { statement.await.map_err(classify) }).await
    }

    async fn begin(&self) -> Result<PgTransaction<'static>, StoreError> {
        self.run("BEGIN", "", self.pool.begin()).await
    }

    async fn commit(&self, transaction: PgTransaction<'static>) -> Result<(), StoreError> {
        self.run("COMMIT", "", transaction.commit()).await
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

#[async_trait]
impl Schema for PostgresStore {
    async fn check(&self) -> Result<String, StoreError> {
        self.bounded(async {
            let version = query_scalar!(r#"SELECT current_setting('server_version') AS "version!""#);
            version.fetch_one(&self.pool).await.map_err(classify)
        })
        .await
    }

    async fn migrate(&self) -> Result<(), StoreError> {
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

    async fn purge(&self, over: &Over) -> Result<(), StoreError> {
        self.bounded(async {
            let Over { now, failures_before, sessions_before } = *over;
            query!("DELETE FROM sign_in_addresses WHERE next_at < $1", to_db(now))
                .execute(&self.pool)
                .await
                .map_err(classify)?;
            query!("DELETE FROM sign_in_failures WHERE last_at < $1", to_db(failures_before))
                .execute(&self.pool)
                .await
                .map_err(classify)?;
            query!("DELETE FROM sessions WHERE expires_at < $1", to_db(sessions_before))
                .execute(&self.pool)
                .await
                .map_err(classify)?;
            Ok(())
        })
        .await
    }
}
