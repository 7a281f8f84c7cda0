use std::time::Duration;

use jiff::Timestamp;
use sqlx::types::Json;
use sqlx::{PgConnection, query};
use uuid::Uuid;

use super::PostgresStore;
use super::rows::{from_db, to_db};
use super::unit::Statements;
use crate::outbox::{Backlog, Claimed, Letter, Message, Recipient, TraceContext};
use crate::session::after;
use crate::store::StoreError;

impl Statements {
    /// Writes letters in the transaction of the change that they report.
    pub(super) async fn post(
        &self,
        transaction: &mut PgConnection,
        letters: &[Letter],
    ) -> Result<(), StoreError> {
        for Letter { id, message, trace, created_at } in letters {
            let posted = query!(
                "INSERT INTO outbox (id, recipient, payload, traceparent, tracestate, created_at, due_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $6)",
                id,
                message.recipient().as_str(),
                Json(message) as _,
                trace.parent,
                trace.state,
                to_db(*created_at)
            );
            self.run("INSERT", "outbox", posted.execute(&mut *transaction)).await?;
        }
        Ok(())
    }
}

/// Leases and deletions commit asynchronously: if a crash loses one, the letter is delivered again.
impl PostgresStore {
    /// Leases letters that are due. No other relay gets them until the lease ends.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn claim(
        &self,
        recipient: Recipient,
        most: usize,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<Claimed>, StoreError> {
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let claimed = query!(
                    r#"WITH due AS (
                     SELECT id FROM outbox
                     WHERE recipient = $1 AND failed_at IS NULL AND due_at <= $2
                       AND (leased_until IS NULL OR leased_until <= $2)
                     ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
                   ), relaxed AS (
                     SELECT set_config('synchronous_commit', 'off', true)
                   )
                   UPDATE outbox SET leased_until = $4, attempts = attempts + 1 FROM due, relaxed
                   WHERE outbox.id = due.id
                   RETURNING outbox.id, payload AS "payload: Json<Message>", traceparent, tracestate,
                     created_at, attempts, unknowns"#,
                    recipient.as_str(),
                    to_db(now),
                    i64::try_from(most).unwrap_or(i64::MAX),
                    to_db(after(now, lease)),
                );
                let claimed = db.run("UPDATE", "outbox", claimed.fetch_all(&mut *connection)).await?;
                let letters = claimed.into_iter().map(|row| Claimed {
                    letter: Letter {
                        id: row.id,
                        message: row.payload.0,
                        trace: TraceContext { parent: row.traceparent, state: row.tracestate },
                        created_at: from_db(row.created_at),
                    },
                    attempt: u32::try_from(row.attempts).unwrap_or_default(),
                    unknowns: u32::try_from(row.unknowns).unwrap_or_default(),
                });
                Ok(letters.collect())
            })
        })
        .await
    }

    /// Deletes letters that have been delivered.
    ///
    /// # Errors
    /// When the store is unavailable; the letters are then delivered again.
    pub async fn delivered(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        let ids = ids.to_vec();
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let gone = query!(
                    "WITH relaxed AS (SELECT set_config('synchronous_commit', 'off', true)) \
                 DELETE FROM outbox USING relaxed WHERE id = ANY($1)",
                    &ids
                );
                db.run("DELETE", "outbox", gone.execute(&mut *connection)).await.map(drop)
            })
        })
        .await
    }

    /// Extends the lease of a letter.
    ///
    /// # Errors
    /// When the store is unavailable; the letter is then due when its lease ends.
    pub async fn renew(&self, id: Uuid, until: Timestamp) -> Result<(), StoreError> {
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let renewed = query!("UPDATE outbox SET leased_until = $2 WHERE id = $1", id, to_db(until));
                db.run("UPDATE", "outbox", renewed.execute(&mut *connection)).await.map(drop)
            })
        })
        .await
    }

    /// Ends a lease and schedules the next attempt. `unknowns`: number of attempts with an unknown outcome.
    ///
    /// # Errors
    /// When the store is unavailable; the letter is then due when its lease ends.
    pub async fn postpone(
        &self,
        id: Uuid,
        due_at: Timestamp,
        unknowns: u32,
        reason: &str,
    ) -> Result<(), StoreError> {
        let reason = reason.to_owned();
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let later = query!(
                    "UPDATE outbox SET due_at = $2, leased_until = NULL, unknowns = $3, reason = $4 WHERE id = $1",
                    id,
                    to_db(due_at),
                    i32::try_from(unknowns).unwrap_or(i32::MAX),
                    reason
                );
                db.run("UPDATE", "outbox", later.execute(&mut *connection)).await.map(drop)
            })
        })
        .await
    }

    /// Marks a letter as failed.
    ///
    /// # Errors
    /// When the store is unavailable; the letter is then tried again.
    pub async fn give_up(&self, id: Uuid, now: Timestamp, reason: &str) -> Result<(), StoreError> {
        let reason = reason.to_owned();
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let kept = query!(
                    "UPDATE outbox SET failed_at = $2, leased_until = NULL, reason = $3 WHERE id = $1",
                    id,
                    to_db(now),
                    reason
                );
                db.run("UPDATE", "outbox", kept.execute(&mut *connection)).await.map(drop)
            })
        })
        .await
    }

    /// Number and age of the letters of a recipient, counted up to [`Backlog::COUNTED`].
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn backlog(&self, recipient: Recipient) -> Result<Backlog, StoreError> {
        self.bounded(move |db, connection| Box::pin(async move {
            let mut transaction = db.begin(connection).await?;
            // Forces the planner to read each index in order up to the limit, even when outdated statistics make a large table look
            // small.
            let in_order = query!(
                "SELECT set_config('enable_seqscan', 'off', true) AS a, \
                   set_config('enable_bitmapscan', 'off', true) AS b, set_config('enable_sort', 'off', true) AS c"
            );
            db.run("SELECT", "", in_order.fetch_one(&mut *transaction)).await?;
            let counted = query!(
                "SELECT \
                   (SELECT count(*) FROM (SELECT FROM outbox WHERE recipient = $1 AND failed_at IS NULL \
                    ORDER BY created_at LIMIT $2) AS waiting) AS waiting, \
                   (SELECT created_at FROM outbox WHERE recipient = $1 AND failed_at IS NULL \
                    ORDER BY created_at LIMIT 1) AS oldest, \
                   (SELECT count(*) FROM (SELECT FROM outbox WHERE recipient = $1 AND failed_at IS NOT NULL \
                    ORDER BY failed_at LIMIT $2) AS failed) AS failed",
                recipient.as_str(),
                i64::from(Backlog::COUNTED)
            );
            let counted = db.run("SELECT", "outbox", counted.fetch_one(&mut *transaction)).await?;
            db.commit(transaction).await?;
            let count = |rows: Option<i64>| u32::try_from(rows.unwrap_or_default()).unwrap_or(Backlog::COUNTED);
            Ok(Backlog {
                recipient,
                waiting: count(counted.waiting),
                oldest: counted.oldest.map(from_db),
                failed: count(counted.failed),
            })
        }))
        .await
    }
}
