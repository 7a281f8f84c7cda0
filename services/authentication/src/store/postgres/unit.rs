//! One unit of work: a connection of its own, a time limit, and an end that no caller can prevent.
//!
//! sqlx 0.9.0 raises a connection's transaction depth only after the answer to BEGIN (transact-rs/sqlx 4385, 4393). A future that is
//! dropped in between returns the connection to the pool inside a transaction, and what the next caller writes is never
//! committed. So no driver's future is dropped here: the work runs as a task, callers drop only their wait, and a connection
//! whose work did not end by itself is closed.

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

/// Leaves time to answer "unavailable" before the caller's deadline.
const WAY_BACK: Duration = Duration::from_millis(30);
/// Upper bound for a unit of work, waited for or not. More than the server gives a statement: this one is for a server that no longer
/// answers.
const WORK_WITHIN: Duration = Duration::from_secs(15);

/// The future of a unit of work on a borrowed connection.
pub(super) type Work<'c, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'c>>;

/// Runs statements in their spans.
#[derive(Debug, Clone)]
pub(super) struct Statements(pub(super) DatabaseSpans);

impl Statements {
    /// Runs one statement.
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

/// A connection from the pool that is closed when it is dropped before its work has ended: nobody knows what is under way on it.
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
    /// Runs a unit of work and waits for it, no longer than its caller has time.
    ///
    /// # Cancellation
    /// What is dropped before there is a connection is not begun. Later, only the wait ends: the work goes on, and is done whole or
    /// not at all.
    pub(super) async fn bounded<T: Send + 'static>(
        &self,
        work: impl for<'c> FnOnce(&'c Statements, &'c mut PgConnection) -> Work<'c, T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let left = Deadline::current().map(|deadline| deadline.left().saturating_sub(WAY_BACK));
        let within = left.map_or(self.timeout, |left| left.min(self.timeout));
        let done = async {
            let lease = Lease { connection: self.pool.acquire().await.map_err(classify)?, ended: false };
            task::finish(lease.carry_out(self.statements.clone(), work)).await
        };
        timeout(within, done).await.map_err(|_| StoreError::TimedOut(within))?
    }
}
