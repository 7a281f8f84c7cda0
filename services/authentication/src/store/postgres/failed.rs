use jiff::Timestamp;
use sqlx::types::Json;
use sqlx::types::time::OffsetDateTime;
use sqlx::{query, query_as, query_scalar};
use uuid::Uuid;

use super::PostgresStore;
use super::rows::{from_db, to_db};
use crate::outbox::Message;
use crate::store::{FailedLetter, FailedQuery, StoreError};

struct Row {
    id: Uuid,
    recipient: String,
    payload: Json<Message>,
    traceparent: Option<String>,
    created_at: OffsetDateTime,
    failed_at: OffsetDateTime,
    reason: Option<String>,
    attempts: i32,
}

impl From<Row> for FailedLetter {
    fn from(row: Row) -> Self {
        let Row { id, recipient, payload, traceparent, created_at, failed_at, reason, attempts } = row;
        Self {
            id,
            recipient,
            message: payload.0,
            traceparent,
            created_at: from_db(created_at),
            failed_at: from_db(failed_at),
            reason: reason.unwrap_or_default(),
            attempts: u32::try_from(attempts).unwrap_or_default(),
        }
    }
}

impl PostgresStore {
    /// A page of matching letters, ordered by time of failure and id.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn failed_letters(&self, query: &FailedQuery) -> Result<Vec<FailedLetter>, StoreError> {
        let FailedQuery { recipient, reason, from, to, after, limit } = query.clone();
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let (after_time, after_id) = after.unzip();
                let found = query_as!(
                    Row,
                    r#"SELECT id, recipient, payload AS "payload: Json<Message>", traceparent, created_at,
                     failed_at AS "failed_at!", reason, attempts
                   FROM outbox
                   WHERE failed_at IS NOT NULL
                     AND ($1::text IS NULL OR recipient = $1)
                     AND ($2::text IS NULL OR strpos(reason, $2) > 0)
                     AND ($3::timestamptz IS NULL OR failed_at >= $3)
                     AND ($4::timestamptz IS NULL OR failed_at < $4)
                     AND ($5::timestamptz IS NULL OR (failed_at, id) > ($5, $6::uuid))
                   ORDER BY failed_at, id LIMIT $7"#,
                    recipient.as_deref(),
                    reason.as_deref(),
                    from.map(to_db),
                    to.map(to_db),
                    after_time.map(to_db),
                    after_id,
                    i64::from(limit),
                );
                let rows = db.run("SELECT", "outbox", found.fetch_all(connection)).await?;
                Ok(rows.into_iter().map(FailedLetter::from).collect())
            })
        })
        .await
    }

    /// One failed letter.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn failed_letter(&self, id: Uuid) -> Result<Option<FailedLetter>, StoreError> {
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let found = query_as!(
                    Row,
                    r#"SELECT id, recipient, payload AS "payload: Json<Message>", traceparent, created_at,
                     failed_at AS "failed_at!", reason, attempts
                   FROM outbox WHERE id = $1 AND failed_at IS NOT NULL"#,
                    id
                );
                let row = db.run("SELECT", "outbox", found.fetch_optional(connection)).await?;
                Ok(row.map(FailedLetter::from))
            })
        })
        .await
    }

    /// Queues a failed letter for delivery as if it were new. Returns whether the outbox has a letter with this id.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn deliver_again(&self, id: Uuid, now: Timestamp) -> Result<bool, StoreError> {
        self.bounded(move |db, connection| Box::pin(async move {
            // `created_at` is reset too; otherwise the relay would give up at once because of the letter's age.
            let due = query!(
                "UPDATE outbox SET failed_at = NULL, reason = NULL, leased_until = NULL, attempts = 0, unknowns = 0, \
                   created_at = $2, due_at = $2 \
                 WHERE id = $1 AND failed_at IS NOT NULL",
                id,
                to_db(now)
            );
            if db.run("UPDATE", "outbox", due.execute(&mut *connection)).await?.rows_affected() > 0 {
                return Ok(true);
            }
            // A repeat of this call finds the letter queued already.
            let there = query_scalar!(r#"SELECT EXISTS(SELECT 1 FROM outbox WHERE id = $1) AS "there!""#, id);
            db.run("SELECT", "outbox", there.fetch_one(connection)).await
        }))
        .await
    }

    /// Deletes failed letters and returns their number.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn remove_failed(&self, ids: &[Uuid]) -> Result<u64, StoreError> {
        let ids = ids.to_vec();
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let gone = query!("DELETE FROM outbox WHERE id = ANY($1) AND failed_at IS NOT NULL", &ids);
                Ok(db.run("DELETE", "outbox", gone.execute(connection)).await?.rows_affected())
            })
        })
        .await
    }
}
