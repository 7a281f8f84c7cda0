use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::types::Json;
use sqlx::{PgTransaction, query};
use uuid::Uuid;

use super::PostgresStore;
use super::rows::{from_db, to_db};
use crate::outbox::{Backlog, Claimed, Letter, Message, Recipient, TraceContext};
use crate::session::after;
use crate::store::{Outbox, StoreError};

impl PostgresStore {
    /// Writes letters with the change that they tell of.
    pub(super) async fn post(
        &self,
        transaction: &mut PgTransaction<'static>,
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
            self.run("INSERT", "outbox", posted.execute(&mut **transaction)).await?;
        }
        Ok(())
    }
}

/// Leases and deliveries do not wait for the disk: what a crash forgets of them is delivered again.
#[async_trait]
impl Outbox for PostgresStore {
    async fn claim(
        &self,
        recipient: Recipient,
        most: usize,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<Claimed>, StoreError> {
        self.bounded(async {
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
            let claimed = self.run("UPDATE", "outbox", claimed.fetch_all(&self.pool)).await?;
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
        .await
    }

    async fn delivered(&self, ids: &[Uuid]) -> Result<(), StoreError> {
        self.bounded(async {
            let gone = query!(
                "WITH relaxed AS (SELECT set_config('synchronous_commit', 'off', true)) \
                 DELETE FROM outbox USING relaxed WHERE id = ANY($1)",
                ids
            );
            self.run("DELETE", "outbox", gone.execute(&self.pool)).await.map(drop)
        })
        .await
    }

    async fn renew(&self, id: Uuid, until: Timestamp) -> Result<(), StoreError> {
        self.bounded(async {
            let renewed = query!("UPDATE outbox SET leased_until = $2 WHERE id = $1", id, to_db(until));
            self.run("UPDATE", "outbox", renewed.execute(&self.pool)).await.map(drop)
        })
        .await
    }

    async fn postpone(
        &self,
        id: Uuid,
        due_at: Timestamp,
        unknowns: u32,
        reason: &str,
    ) -> Result<(), StoreError> {
        self.bounded(async {
            let later = query!(
                "UPDATE outbox SET due_at = $2, leased_until = NULL, unknowns = $3, reason = $4 WHERE id = $1",
                id,
                to_db(due_at),
                i32::try_from(unknowns).unwrap_or(i32::MAX),
                reason
            );
            self.run("UPDATE", "outbox", later.execute(&self.pool)).await.map(drop)
        })
        .await
    }

    async fn give_up(&self, id: Uuid, now: Timestamp, reason: &str) -> Result<(), StoreError> {
        self.bounded(async {
            let kept = query!(
                "UPDATE outbox SET failed_at = $2, leased_until = NULL, reason = $3 WHERE id = $1",
                id,
                to_db(now),
                reason
            );
            self.run("UPDATE", "outbox", kept.execute(&self.pool)).await.map(drop)
        })
        .await
    }

    async fn backlog(&self) -> Result<Vec<Backlog>, StoreError> {
        self.bounded(async {
            let rows = query!(
                r#"SELECT recipient, count(*) FILTER (WHERE failed_at IS NULL) AS "waiting!",
                     min(created_at) FILTER (WHERE failed_at IS NULL) AS oldest,
                     count(*) FILTER (WHERE failed_at IS NOT NULL) AS "failed!"
                   FROM outbox GROUP BY recipient"#
            );
            let rows = self.run("SELECT", "outbox", rows.fetch_all(&self.pool)).await?;
            let of = |recipient: Recipient| {
                let row = rows.iter().find(|row| row.recipient == recipient.as_str());
                Backlog {
                    recipient,
                    waiting: row.map_or(0, |row| row.waiting.unsigned_abs()),
                    oldest: row.and_then(|row| row.oldest).map(from_db),
                    failed: row.map_or(0, |row| row.failed.unsigned_abs()),
                }
            };
            Ok(Recipient::ALL.map(of).to_vec())
        })
        .await
    }
}
