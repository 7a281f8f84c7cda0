use sqlx::{query, query_as, query_scalar};
use uuid::Uuid;

use super::PostgresStore;
use super::rows::{AccountRow, to_db};
use crate::outbox::Letter;
use crate::store::{Creation, PasswordChange, StoreError};
use crate::user::{Account, User};

impl PostgresStore {
    /// The account with this address (in NFC, case-insensitive).
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn account_by_email(&self, email: &str) -> Result<Option<Account>, StoreError> {
        let email = email.to_owned();
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let found =
                    query_as!(AccountRow, "SELECT * FROM users WHERE lower(email) = lower($1)", email);
                let found = db.run("SELECT", "users", found.fetch_optional(&mut *connection)).await?;
                found.map(Account::try_from).transpose()
            })
        })
        .await
    }

    /// The account with this id.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn account_by_id(&self, id: Uuid) -> Result<Option<Account>, StoreError> {
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let found = query_as!(AccountRow, "SELECT * FROM users WHERE id = $1", id);
                let found = db.run("SELECT", "users", found.fetch_optional(&mut *connection)).await?;
                found.map(Account::try_from).transpose()
            })
        })
        .await
    }

    /// What became of the creation of a user with this id.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn creation(&self, id: Uuid) -> Result<Creation, StoreError> {
        self.bounded(move |db, connection| {
            Box::pin(async move {
                // First, so that a user who is created between the two reads is not taken for a deleted one.
                let recorded =
                    query_scalar!(r#"SELECT EXISTS(SELECT 1 FROM created_users WHERE id = $1) AS "it!""#, id);
                let recorded = recorded.fetch_one(&mut *connection);
                let recorded = db.run("SELECT", "created_users", recorded).await?;
                // The earlier version writes no record.
                let found = query_as!(
                    AccountRow,
                    r#"SELECT users.id, email, created_at, created_at AS updated_at, true AS "active!",
                     COALESCE(new.first_name, users.first_name) AS "first_name!",
                     COALESCE(new.last_name, users.last_name) AS "last_name!",
                     COALESCE(new.password_hash, users.password_hash) AS "password_hash!",
                     COALESCE(new.role, users.role) AS "role!"
                     FROM users LEFT JOIN created_users AS new USING (id) WHERE users.id = $1"#,
                    id
                );
                let found = db.run("SELECT", "users", found.fetch_optional(&mut *connection)).await?;
                Ok(match found.map(Account::try_from).transpose()? {
                    Some(account) => Creation::Of(account),
                    None if recorded => Creation::Deleted,
                    None => Creation::Unknown,
                })
            })
        })
        .await
    }

    /// Inserts an account. Returns false if the address exists already, or the id exists or existed.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn insert_account(&self, account: &Account, letters: &[Letter]) -> Result<bool, StoreError> {
        let (Account { user, password_hash }, letters) = (account.clone(), letters.to_vec());
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let mut transaction = db.begin(connection).await?;
                let inserted = query!(
                    "WITH new AS ( \
                     INSERT INTO created_users (id, first_name, last_name, password_hash, role) \
                     VALUES ($1, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING * \
                 ) INSERT INTO users \
                 (id, email, first_name, last_name, password_hash, role, active, created_at, updated_at) \
                 SELECT id, $2, first_name, last_name, password_hash, role, $7::boolean, $8::timestamptz, $9::timestamptz \
                 FROM new ON CONFLICT DO NOTHING",
                    user.id,
                    user.email,
                    user.first_name,
                    user.last_name,
                    password_hash,
                    user.role.as_str(),
                    user.active,
                    to_db(user.created_at),
                    to_db(user.updated_at),
                );
                let inserted = db.run("INSERT", "users", inserted.execute(&mut *transaction)).await?;
                if inserted.rows_affected() == 0 {
                    return Ok(false);
                }
                db.post(&mut transaction, &letters).await?;
                db.commit(transaction).await?;
                Ok(true)
            })
        })
        .await
    }

    /// At most `limit` users, ordered by address, beginning after this address.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn users_after(&self, email: &str, limit: u32) -> Result<Vec<User>, StoreError> {
        let email = email.to_owned();
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let found = query_as!(
                    AccountRow,
                    "SELECT * FROM users WHERE lower(email) > lower($1) ORDER BY lower(email) LIMIT $2",
                    email,
                    i64::from(limit)
                );
                let found = db.run("SELECT", "users", found.fetch_all(&mut *connection)).await?;
                found.into_iter().map(|row| Ok(Account::try_from(row)?.user)).collect()
            })
        })
        .await
    }

    /// Changes a password and ends the user's other sessions. Returns false if the stored hash has changed or the user is inactive.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn change_password(
        &self,
        change: &PasswordChange,
        letters: &[Letter],
    ) -> Result<bool, StoreError> {
        let (change, letters) = (change.clone(), letters.to_vec());
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let PasswordChange { user_id, session_id, old_hash, new_hash, now } = change;
                let mut transaction = db.begin(connection).await?;
                let changed = query!(
                    "UPDATE users SET password_hash = $3, updated_at = $4 \
                 WHERE id = $1 AND password_hash = $2 AND active",
                    user_id,
                    old_hash,
                    new_hash,
                    to_db(now)
                );
                let changed = db.run("UPDATE", "users", changed.execute(&mut *transaction)).await?;
                if changed.rows_affected() == 0 {
                    return Ok(false);
                }
                let ended = query!(
                    "UPDATE sessions SET ended_at = $3 WHERE user_id = $1 AND id <> $2 AND ended_at IS NULL",
                    user_id,
                    session_id,
                    to_db(now)
                );
                db.run("UPDATE", "sessions", ended.execute(&mut *transaction)).await?;
                db.drop_resets(&mut transaction, user_id).await?;
                db.post(&mut transaction, &letters).await?;
                db.commit(transaction).await?;
                Ok(true)
            })
        })
        .await
    }
}
