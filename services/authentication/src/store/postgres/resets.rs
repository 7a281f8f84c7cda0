use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sqlx::{PgConnection, query, query_as, query_scalar};
use uuid::Uuid;

use super::PostgresStore;
use super::rows::{AccountRow, from_db, to_db};
use super::unit::Statements;
use crate::limits::Rate;
use crate::session::{RefreshHash, after, before};
use crate::store::{Compose, PasswordReset, ResetRequest, StoreError};
use crate::user::{Account, User};

impl Statements {
    /// Takes one request from an allowance. Returns how long to wait if it is used up.
    async fn take_reset(
        &self,
        transaction: &mut PgConnection,
        key: &[u8; 32],
        rate: Rate,
        now: Timestamp,
    ) -> Result<Option<Duration>, StoreError> {
        let taken = query!(
            "INSERT INTO password_reset_limits AS l (key, next_at) \
             VALUES ($1, $2::timestamptz + $4::float8 * interval '1 second') \
             ON CONFLICT (key) DO UPDATE SET next_at = greatest(l.next_at, $2) + $4 * interval '1 second' \
             WHERE l.next_at <= $3",
            key.as_slice(),
            to_db(now),
            to_db(after(now, rate.tolerance())),
            rate.every.as_secs_f64(),
        );
        let taken = self.run("INSERT", "password_reset_limits", taken.execute(&mut *transaction)).await?;
        if taken.rows_affected() > 0 {
            return Ok(None);
        }
        let next_at =
            query_scalar!("SELECT next_at FROM password_reset_limits WHERE key = $1", key.as_slice());
        let next_at =
            self.run("SELECT", "password_reset_limits", next_at.fetch_optional(&mut *transaction)).await?;
        let turn = next_at.map_or(now, |next_at| before(from_db(next_at), rate.tolerance()));
        let wait = turn.duration_since(now).max(SignedDuration::ZERO);
        Ok(Some(Duration::try_from(wait).unwrap_or_default()))
    }

    /// Invalidates all reset links of a user.
    pub(super) async fn drop_resets(
        &self,
        transaction: &mut PgConnection,
        user_id: Uuid,
    ) -> Result<(), StoreError> {
        let gone = query!("DELETE FROM password_resets WHERE user_id = $1", user_id);
        self.run("DELETE", "password_resets", gone.execute(&mut *transaction)).await.map(drop)
    }

    /// Marks a token as used and deletes the user's other tokens. Returns false if the token was used or has expired.
    async fn use_reset(
        &self,
        transaction: &mut PgConnection,
        reset: &PasswordReset,
    ) -> Result<bool, StoreError> {
        let used = query!(
            "UPDATE password_resets SET used_at = $3 \
             WHERE hash = $1 AND user_id = $2 AND used_at IS NULL AND expires_at > $3",
            reset.token.as_slice(),
            reset.user_id,
            to_db(reset.now)
        );
        let used = self.run("UPDATE", "password_resets", used.execute(&mut *transaction)).await?;
        let others = query!(
            "DELETE FROM password_resets WHERE user_id = $1 AND hash <> $2",
            reset.user_id,
            reset.token.as_slice()
        );
        self.run("DELETE", "password_resets", others.execute(&mut *transaction)).await?;
        Ok(used.rows_affected() > 0)
    }
}

impl PostgresStore {
    /// Writes the letters, or returns how long to wait if a limit is used up. Does the same work whether or not a user has the
    /// address.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn request_reset(&self, request: &ResetRequest) -> Result<Option<Duration>, StoreError> {
        let ResetRequest { limits, letters, now } = request.clone();
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let mut transaction = db.begin(connection).await?;
                let mut wait = None;
                // The first limit is the caller's. A refused caller must not use up the limit of somebody else's address.
                for (key, rate) in limits {
                    wait = db.take_reset(&mut transaction, &key, rate, now).await?;
                    if wait.is_some() {
                        break;
                    }
                }
                if wait.is_none() {
                    db.post(&mut transaction, &letters).await?;
                }
                db.commit(transaction).await?;
                Ok(wait)
            })
        })
        .await
    }

    /// Stores the hash of a token for the active user with this address. Returns the user, or `None` if no active user has the address.
    /// Idempotent.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn add_reset(
        &self,
        email: &str,
        token: &RefreshHash,
        expires_at: Timestamp,
    ) -> Result<Option<User>, StoreError> {
        let (email, token) = (email.to_owned(), *token);
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let mut transaction = db.begin(connection).await?;
                let found = query_as!(
                    AccountRow,
                    "SELECT * FROM users WHERE lower(email) = lower($1) AND active FOR KEY SHARE",
                    email
                );
                let found = db.run("SELECT", "users", found.fetch_optional(&mut *transaction)).await?;
                let Some(Account { user, .. }) = found.map(Account::try_from).transpose()? else {
                    return Ok(None);
                };
                let added = query!(
                    "INSERT INTO password_resets (hash, user_id, expires_at) VALUES ($1, $2, $3) \
                     ON CONFLICT (hash) DO NOTHING",
                    token.as_slice(),
                    user.id,
                    to_db(expires_at)
                );
                db.run("INSERT", "password_resets", added.execute(&mut *transaction)).await?;
                db.commit(transaction).await?;
                Ok(Some(user))
            })
        })
        .await
    }

    /// The active user of an unexpired token, and whether the token was used.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn reset_of(
        &self,
        token: &RefreshHash,
        now: Timestamp,
    ) -> Result<Option<(Account, bool)>, StoreError> {
        let token = *token;
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let found = query!(
                    "SELECT user_id, used_at FROM password_resets WHERE hash = $1 AND expires_at > $2",
                    token.as_slice(),
                    to_db(now)
                );
                let found =
                    db.run("SELECT", "password_resets", found.fetch_optional(&mut *connection)).await?;
                let Some(reset) = found else { return Ok(None) };
                let user =
                    query_as!(AccountRow, "SELECT * FROM users WHERE id = $1 AND active", reset.user_id);
                let user = db.run("SELECT", "users", user.fetch_optional(&mut *connection)).await?;
                let account = user.map(Account::try_from).transpose()?;
                Ok(account.map(|account| (account, reset.used_at.is_some())))
            })
        })
        .await
    }

    /// Uses a token: sets a new password, ends all of the user's sessions and deletes the user's other tokens. Returns false if the
    /// token was used or has expired, or the user is inactive.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn reset_password(&self, reset: &PasswordReset, letters: Compose) -> Result<bool, StoreError> {
        let reset = reset.clone();
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let mut transaction = db.begin(connection).await?;
                // Locks the user before the token, in the same order as a deletion.
                let changed = query_as!(
                    AccountRow,
                    "UPDATE users SET password_hash = $2, updated_at = $3 WHERE id = $1 AND active RETURNING *",
                    reset.user_id,
                    reset.new_hash,
                    to_db(reset.now)
                );
                let changed = db.run("UPDATE", "users", changed.fetch_optional(&mut *transaction)).await?;
                let Some(Account { user, .. }) = changed.map(Account::try_from).transpose()? else {
                    return Ok(false);
                };
                if !db.use_reset(&mut transaction, &reset).await? {
                    return Ok(false);
                }
                let ended = db.end_all(&mut transaction, user.id, reset.now).await?;
                db.post(&mut transaction, &letters(&user, &ended)).await?;
                db.commit(transaction).await?;
                Ok(true)
            })
        })
        .await
    }
}
