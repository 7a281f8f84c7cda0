use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use sqlx::types::time::OffsetDateTime;
use sqlx::{query, query_scalar};

use super::PostgresStore;
use super::rows::{from_db, to_db};
use crate::limits::{Failures, Rate};
use crate::session::{after, before};
use crate::store::{Limits, StoreError, Try};

#[async_trait]
impl Limits for PostgresStore {
    async fn take_try(
        &self,
        address: &str,
        key: &[u8; 32],
        rate: Rate,
        now: Timestamp,
    ) -> Result<Try, StoreError> {
        let (address, key) = (address.to_owned(), *key);
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let latest = after(now, rate.tolerance());
                // The row's own lock makes this exact, however many replicas ask at once. Whoever tries next from the same address
                // waits for it, so it is not held until the disk has the count.
                let tried = query!(
                    r#"WITH taken AS (
                     INSERT INTO sign_in_addresses AS a (address, next_at)
                     VALUES ($1, $2::timestamptz + $4::float8 * interval '1 second')
                     ON CONFLICT (address) DO UPDATE
                     SET next_at = greatest(a.next_at, $2) + $4 * interval '1 second'
                     WHERE a.next_at <= $3
                     RETURNING address
                   ), tried AS (
                     SELECT count(*) > 0 AS taken, set_config('synchronous_commit', 'off', true) FROM taken
                   )
                   SELECT taken AS "taken!", f.failures AS "failures?", f.last_at AS "last_at?"
                   FROM tried LEFT JOIN sign_in_failures f ON f.key = $5"#,
                    address,
                    to_db(now),
                    to_db(latest),
                    rate.every.as_secs_f64(),
                    key.as_slice(),
                );
                let tried = db.run("INSERT", "sign_in_addresses", tried.fetch_one(&mut *connection)).await?;
                if tried.taken {
                    return Ok(Try::Taken(tried.failures.zip(tried.last_at).map(failures)));
                }
                let next_at =
                    query_scalar!("SELECT next_at FROM sign_in_addresses WHERE address = $1", address);
                let next_at =
                    db.run("SELECT", "sign_in_addresses", next_at.fetch_optional(&mut *connection)).await?;
                let turn = next_at.map_or(now, |next_at| before(from_db(next_at), rate.tolerance()));
                let wait = turn.duration_since(now).max(SignedDuration::ZERO);
                Ok(Try::Wait(Duration::try_from(wait).unwrap_or_default()))
            })
        })
        .await
    }

    async fn failures(&self, key: &[u8; 32]) -> Result<Option<Failures>, StoreError> {
        let key = *key;
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let found =
                    query!("SELECT failures, last_at FROM sign_in_failures WHERE key = $1", key.as_slice());
                let found =
                    db.run("SELECT", "sign_in_failures", found.fetch_optional(&mut *connection)).await?;
                Ok(found.map(|row| failures((row.failures, row.last_at))))
            })
        })
        .await
    }

    async fn add_failure(&self, key: &[u8; 32], now: Timestamp) -> Result<(), StoreError> {
        let key = *key;
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let forgotten = before(now, Failures::KEPT_FOR);
                let added = query!(
                    "INSERT INTO sign_in_failures AS f (key, failures, last_at) VALUES ($1, 1, $2) \
                 ON CONFLICT (key) DO UPDATE \
                 SET failures = CASE WHEN f.last_at < $3 THEN 1 ELSE least(f.failures, 1000000) + 1 END, \
                     last_at = $2",
                    key.as_slice(),
                    to_db(now),
                    to_db(forgotten),
                );
                db.run("INSERT", "sign_in_failures", added.execute(&mut *connection)).await.map(drop)
            })
        })
        .await
    }
}

fn failures((count, last_at): (i32, OffsetDateTime)) -> Failures {
    Failures { count: u32::try_from(count).unwrap_or_default(), last_at: from_db(last_at) }
}
