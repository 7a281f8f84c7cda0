//! A unit of work: it has its own connection and a time limit, and runs to its end even if the caller is dropped.
//!
//! sqlx 0.9.0 increments a connection's transaction depth only after the response to BEGIN (transact-rs/sqlx 4385, 4393). If the future
//! is dropped in between, the connection returns to the pool inside a transaction, and the next caller's writes are never
//! committed. Therefore no future of the driver is dropped here: the work runs as a task, a dropped caller only stops waiting, and a
//! connection whose work did not complete is closed.

use std::pin::Pin;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, PgConnection, PgTransaction, Postgres};
use tokio::time::timeout;
use weft_mesh::Deadline;
use weft_runtime::task;

use super::PostgresStore;
use super::error::classify;
use crate::store::StoreError;
use crate::trace::DatabaseSpans;

/// Time reserved to respond "unavailable" before the caller's deadline.
const RESPONSE_TIME: Duration = Duration::from_millis(30);
/// Upper bound of a unit of work, even if no caller waits. Longer than the server's statement timeout, because it is for a server that
/// no longer responds.
const WORK_WITHIN: Duration = Duration::from_secs(15);

/// The future of a unit of work on a borrowed connection.
pub(super) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'c>>;

/// Runs statements in spans.
#[derive(Debug, Clone)]
pub(super) struct Statements(pub(super) DatabaseSpans);

impl Statements {
    pub(super) async fn run<T>(
        &self,
        operation: &'static str,
        table: &'static str,
        statement: impl Future<Output = sqlx::Result<T>>,
    ) -> Result<T, StoreError> {
        self.0.run(operation, table, async { statement.await.map_err(classify) }).await
    }

    pub(super) async fn begin<'c>(
        &self,
        connection: &'c mut PgConnection,
    ) -> Result<PgTransaction<'c>, StoreError> {
        self.run("BEGIN", "", connection.begin()).await
    }

    pub(super) async fn commit(&self, transaction: PgTransaction<'_>) -> Result<(), StoreError> {
        self.run("COMMIT", "", transaction.commit()).await
    }
}

/// A pooled connection. It is closed if it is dropped before its work has ended, because its state is then unknown.
struct Lease {
    connection: PoolConnection<Postgres>,
    ended: bool,
}

impl Lease {
    async fn carry_out<T>(
        mut self,
        statements: Statements,
        work: impl for<'c> FnOnce(&'c Statements, &'c mut PgConnection) -> Work<'c, T>,
    ) -> Result<T, StoreError> {
        let outcome = timeout(WORK_WITHIN, work(&statements, &mut self.connection)).await;
        self.ended = outcome.is_ok();
        outcome.unwrap_or(Err(StoreError::TimedOut(WORK_WITHIN)))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.ended {
            self.connection.close_on_drop();
        }
    }
}

impl PostgresStore {
    /// Runs a unit of work and waits for it, up to the store timeout and the caller's deadline.
    ///
    /// # Cancellation
    /// If dropped before there is a connection, the work does not begin. Later, only the wait ends: the work continues and is
    /// completed or has no effect.
    pub(super) async fn bounded<T: Send + 'static>(
        &self,
        work: impl for<'c> FnOnce(&'c Statements, &'c mut PgConnection) -> Work<'c, T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let left = Deadline::current().map(|deadline| deadline.left().saturating_sub(RESPONSE_TIME));
        let within = left.map_or(self.timeout, |left| left.min(self.timeout));
        let done = async {
            let lease = Lease { connection: self.pool.acquire().await.map_err(classify)?, ended: false };
            task::finish(lease.carry_out(self.statements.clone(), work)).await
        };
        timeout(within, done).await.map_err(|_| StoreError::TimedOut(within))?
    }
}
