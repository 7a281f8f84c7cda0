use std::time::Duration;

use jiff::Timestamp;
use sqlx::{PgConnection, query};

use super::PostgresStore;
use super::rows::{from_db, to_db};
use super::unit::Statements;
use crate::limits::{Counted, Failures, Rate, Taken, Try, Used, refusal};
use crate::session::{after, before};
use crate::store::StoreError;

impl PostgresStore {
    /// Begins an attempt, which counts as a failure until it is given back, unless it is refused ([`crate::limits::refusal`]).
    /// `rate` is `None` if addresses are not limited. If the server crashes, the attempts of the last second may be lost.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn take_try(
        &self,
        who: &Counted,
        rate: Option<Rate>,
        now: Timestamp,
    ) -> Result<Try, StoreError> {
        let who = who.clone();
        self.bounded(move |db, connection| {
            Box::pin(async move {
                if let Some(rate) = rate
                    && let Some(taken) = db.take_first(connection, &who, rate, now).await?
                {
                    return Ok(Try::Taken(taken));
                }
                db.decide(connection, &who, rate, now).await
            })
        })
        .await
    }

    /// Ends an attempt whose password was wrong.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn add_failure(&self, who: &Counted, taken: Taken, now: Timestamp) -> Result<(), StoreError> {
        let who = who.clone();
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let more = i32::from(!taken.is_failure);
                let added = query!(
                    "INSERT INTO sign_in_failures AS f (key, failures, last_at) VALUES ($1, 1, $2) \
                     ON CONFLICT (key) DO UPDATE \
                     SET failures = CASE WHEN f.last_at < $3 THEN 1 ELSE least(f.failures, 1000000) + $4 END, \
                         last_at = $2, pending = f.pending AND $4 = 1",
                    who.key.as_slice(),
                    to_db(now),
                    to_db(before(now, Failures::KEPT_FOR)),
                    more,
                );
                db.run("INSERT", "sign_in_failures", added.execute(&mut *connection)).await?;
                db.end_attempt(connection, &who, taken, Duration::ZERO).await
            })
        })
        .await
    }

    /// Ends an attempt that did not fail.
    ///
    /// # Errors
    /// When the store is unavailable; the attempt then stays counted.
    pub async fn give_back(&self, who: &Counted, taken: Taken, refund: Duration) -> Result<(), StoreError> {
        let who = who.clone();
        self.bounded(move |db, connection| {
            Box::pin(async move {
                if taken.is_failure {
                    let less = query!(
                        "UPDATE sign_in_failures SET failures = failures - 1, pending = false WHERE key = $1",
                        who.key.as_slice()
                    );
                    db.run("UPDATE", "sign_in_failures", less.execute(&mut *connection)).await?;
                }
                db.end_attempt(connection, &who, taken, refund).await
            })
        })
        .await
    }
}

impl Statements {
    /// The common case in one statement: the account has no failures from this address, and the address is within its
    /// allowance. The row lock makes the count exact across replicas. The next attempt from the same address waits for the
    /// lock, so the commit is asynchronous.
    async fn take_first(
        &self,
        connection: &mut PgConnection,
        who: &Counted,
        rate: Rate,
        now: Timestamp,
    ) -> Result<Option<Taken>, StoreError> {
        let taken = query!(
            r#"WITH taken AS (
                 INSERT INTO sign_in_addresses AS a (address, next_at, pending)
                 SELECT $1, $2::timestamptz + $4::float8 * interval '1 second', 1
                 WHERE NOT EXISTS (SELECT FROM sign_in_failures WHERE key = $5)
                 ON CONFLICT (address) DO UPDATE
                 SET next_at = greatest(a.next_at, $2) + $4 * interval '1 second',
                     pending = CASE WHEN a.next_at < $2 THEN 1 ELSE a.pending + 1 END
                 WHERE a.next_at <= $3
                 RETURNING next_at
               )
               SELECT next_at, set_config('synchronous_commit', 'off', true) FROM taken"#,
            who.address,
            to_db(now),
            to_db(after(now, rate.tolerance())),
            rate.every.as_secs_f64(),
            who.key.as_slice(),
        );
        let taken = self.run("INSERT", "sign_in_addresses", taken.fetch_optional(connection)).await?;
        Ok(taken.map(|row| Taken { until: Some(from_db(row.next_at)), is_failure: false }))
    }

    /// All other cases, with both rows locked: first that of the address, then that of the account.
    async fn decide(
        &self,
        connection: &mut PgConnection,
        who: &Counted,
        rate: Option<Rate>,
        now: Timestamp,
    ) -> Result<Try, StoreError> {
        let mut transaction = self.begin(connection).await?;
        let used = match rate {
            Some(rate) => Some((rate, self.used(&mut transaction, &who.address, now).await?)),
            None => None,
        };
        let failures = self.failures(&mut transaction, who, now).await?;
        let decision = match refusal(used, failures, now) {
            Some(refused) => refused,
            None => Try::Taken(self.take(&mut transaction, who, rate, failures.is_some(), now).await?),
        };
        self.commit(transaction).await?;
        Ok(decision)
    }

    /// The used allowance of an address. Locks its row.
    async fn used(
        &self,
        connection: &mut PgConnection,
        address: &str,
        now: Timestamp,
    ) -> Result<Used, StoreError> {
        // Ensures that there is a row to lock.
        let added = query!(
            "INSERT INTO sign_in_addresses (address, next_at) VALUES ($1, $2) ON CONFLICT (address) DO NOTHING",
            address,
            to_db(now),
        );
        self.run("INSERT", "sign_in_addresses", added.execute(&mut *connection)).await?;
        // A refused attempt must not wait for the disk: waiting ones poll.
        let used = query!(
            "SELECT next_at, pending, set_config('synchronous_commit', 'off', true) \
             FROM sign_in_addresses WHERE address = $1 FOR UPDATE",
            address
        );
        let used = self.run("SELECT", "sign_in_addresses", used.fetch_optional(connection)).await?;
        // A purge may have deleted the row in between; then nothing of the allowance was used.
        let (next_at, pending) = used.map_or((now, 0), |row| (from_db(row.next_at), row.pending));
        Ok(Used { next_at, pending: u32::try_from(pending).unwrap_or_default() })
    }

    /// The failures of an account from an address, unless they are too old. Locks their row.
    async fn failures(
        &self,
        connection: &mut PgConnection,
        who: &Counted,
        now: Timestamp,
    ) -> Result<Option<Failures>, StoreError> {
        let found = query!(
            "SELECT failures, last_at, pending FROM sign_in_failures WHERE key = $1 AND last_at >= $2 FOR UPDATE",
            who.key.as_slice(),
            to_db(before(now, Failures::KEPT_FOR)),
        );
        let found = self.run("SELECT", "sign_in_failures", found.fetch_optional(connection)).await?;
        Ok(found.map(|row| Failures {
            count: u32::try_from(row.failures).unwrap_or_default(),
            last_at: from_db(row.last_at),
            pending: row.pending,
        }))
    }

    /// Counts an attempt as a failure of its address, if addresses are limited, and of its account, if that has failures.
    async fn take(
        &self,
        connection: &mut PgConnection,
        who: &Counted,
        rate: Option<Rate>,
        is_failure: bool,
        now: Timestamp,
    ) -> Result<Taken, StoreError> {
        if is_failure {
            let counted = query!(
                "UPDATE sign_in_failures \
                 SET failures = least(failures, 1000000) + 1, last_at = $2, pending = true WHERE key = $1",
                who.key.as_slice(),
                to_db(now),
            );
            self.run("UPDATE", "sign_in_failures", counted.execute(&mut *connection)).await?;
        }
        let Some(rate) = rate else { return Ok(Taken { until: None, is_failure }) };
        let taken = query!(
            "UPDATE sign_in_addresses \
             SET next_at = greatest(next_at, $2) + $3::float8 * interval '1 second', \
                 pending = CASE WHEN next_at < $2 THEN 1 ELSE pending + 1 END \
             WHERE address = $1 RETURNING next_at",
            who.address,
            to_db(now),
            rate.every.as_secs_f64(),
        );
        let taken = self.run("UPDATE", "sign_in_addresses", taken.fetch_optional(connection)).await?;
        Ok(Taken { until: taken.map(|row| from_db(row.next_at)), is_failure })
    }

    /// Ends an attempt of an address. Commits asynchronously, as in [`Self::take_first`].
    async fn end_attempt(
        &self,
        connection: &mut PgConnection,
        who: &Counted,
        taken: Taken,
        refund: Duration,
    ) -> Result<(), StoreError> {
        if taken.until.is_none() {
            return Ok(());
        }
        let ended = query!(
            r#"WITH ended AS (
                 UPDATE sign_in_addresses
                 SET next_at = next_at - $2::float8 * interval '1 second', pending = greatest(pending - 1, 0)
                 WHERE address = $1 RETURNING address
               )
               SELECT set_config('synchronous_commit', 'off', true) FROM ended"#,
            who.address,
            refund.as_secs_f64(),
        );
        self.run("UPDATE", "sign_in_addresses", ended.fetch_optional(connection)).await.map(drop)
    }
}
