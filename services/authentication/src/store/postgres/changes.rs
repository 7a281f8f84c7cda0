use jiff::Timestamp;
use sqlx::{PgConnection, query, query_as, query_scalar};
use uuid::Uuid;

use super::PostgresStore;
use super::rows::{AccountRow, SessionRow, to_db};
use super::unit::Statements;
use crate::session::Session;
use crate::store::{Changed, Compose, StoreError, UserChange};
use crate::user::{Account, Role, User};

/// Advisory lock that every change of a user holds until its commit, so that two concurrent changes can't remove the last two admins.
const ADMINS_LOCK: i64 = 0x7765_6674_6164_6d69;

impl Statements {
    /// Locks the set of admins and the user until the transaction ends. A sign-in of the user waits too.
    async fn locked_user(
        &self,
        transaction: &mut PgConnection,
        id: Uuid,
    ) -> Result<Option<User>, StoreError> {
        let lock = query!("SELECT pg_advisory_xact_lock($1)", ADMINS_LOCK);
        self.run("SELECT", "", lock.execute(&mut *transaction)).await?;
        let found = query_as!(AccountRow, "SELECT * FROM users WHERE id = $1 FOR UPDATE", id);
        let found = self.run("SELECT", "users", found.fetch_optional(&mut *transaction)).await?;
        Ok(found.map(Account::try_from).transpose()?.map(|account| account.user))
    }

    /// Whether the user is the only active admin.
    async fn is_last_admin(&self, transaction: &mut PgConnection, user: &User) -> Result<bool, StoreError> {
        if !is_active_admin(user) {
            return Ok(false);
        }
        let others = query_scalar!(
            r#"SELECT EXISTS(SELECT 1 FROM users WHERE role = 'admin' AND active AND id <> $1) AS "others!""#,
            user.id
        );
        let others = self.run("SELECT", "users", others.fetch_one(&mut *transaction)).await?;
        Ok(!others)
    }

    async fn write_user(&self, transaction: &mut PgConnection, user: &User) -> Result<(), StoreError> {
        let changed = query!(
            "UPDATE users SET role = $2, first_name = $3, last_name = $4, active = $5, updated_at = $6 WHERE id = $1",
            user.id,
            user.role.as_str(),
            user.first_name,
            user.last_name,
            user.active,
            to_db(user.updated_at),
        );
        self.run("UPDATE", "users", changed.execute(&mut *transaction)).await.map(drop)
    }

    /// Ends all sessions of a user and returns those that had not been ended.
    pub(super) async fn end_all(
        &self,
        transaction: &mut PgConnection,
        user_id: Uuid,
        now: Timestamp,
    ) -> Result<Vec<Session>, StoreError> {
        let ended = query_as!(
            SessionRow,
            "UPDATE sessions SET ended_at = $2 WHERE user_id = $1 AND ended_at IS NULL \
             RETURNING id, user_id, created_at, last_used_at, expires_at, client_address, user_agent",
            user_id,
            to_db(now)
        );
        let ended = self.run("UPDATE", "sessions", ended.fetch_all(&mut *transaction)).await?;
        Ok(ended.into_iter().map(Session::from).collect())
    }
}

fn is_active_admin(user: &User) -> bool {
    user.active && user.role == Role::Admin
}

impl PostgresStore {
    /// Changes a user. Deactivation ends all sessions. Letters are written only if something changes.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn change_user(
        &self,
        id: Uuid,
        change: &UserChange,
        now: Timestamp,
        letters: Compose,
    ) -> Result<Changed, StoreError> {
        let change = change.clone();
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let mut transaction = db.begin(connection).await?;
                let Some(before) = db.locked_user(&mut transaction, id).await? else {
                    return Ok(Changed::NotFound);
                };
                let mut user = change.applied_to(&before);
                if user == before {
                    return Ok(Changed::Done(before));
                }
                if !is_active_admin(&user) && db.is_last_admin(&mut transaction, &before).await? {
                    return Ok(Changed::LastAdmin);
                }
                user.updated_at = now;
                db.write_user(&mut transaction, &user).await?;
                let ended = match user.active {
                    true => Vec::new(),
                    false => {
                        db.drop_resets(&mut transaction, id).await?;
                        db.end_all(&mut transaction, id, now).await?
                    }
                };
                db.post(&mut transaction, &letters(&user, &ended)).await?;
                db.commit(transaction).await?;
                Ok(Changed::Done(user))
            })
        })
        .await
    }

    /// Deletes a user and all of the user's sessions. The id can't be used again.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn delete_user(
        &self,
        id: Uuid,
        now: Timestamp,
        letters: Compose,
    ) -> Result<Changed, StoreError> {
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let mut transaction = db.begin(connection).await?;
                let Some(user) = db.locked_user(&mut transaction, id).await? else {
                    return Ok(Changed::NotFound);
                };
                if db.is_last_admin(&mut transaction, &user).await? {
                    return Ok(Changed::LastAdmin);
                }
                let sessions = query!("DELETE FROM sessions WHERE user_id = $1", id);
                db.run("DELETE", "sessions", sessions.execute(&mut *transaction)).await?;
                let noted = query!(
                    "INSERT INTO deleted_users (email_hash, deleted_at) \
                     VALUES (sha256(convert_to(lower($1), 'UTF8')), $2) \
                     ON CONFLICT (email_hash) DO UPDATE SET deleted_at = $2",
                    user.email,
                    to_db(now)
                );
                db.run("INSERT", "deleted_users", noted.execute(&mut *transaction)).await?;
                let emptied = query!(
                    "INSERT INTO created_users (id) VALUES ($1) ON CONFLICT (id) DO UPDATE \
                     SET first_name = NULL, last_name = NULL, password_hash = NULL, role = NULL",
                    id
                );
                db.run("INSERT", "created_users", emptied.execute(&mut *transaction)).await?;
                let gone = query!("DELETE FROM users WHERE id = $1", id);
                db.run("DELETE", "users", gone.execute(&mut *transaction)).await?;
                db.post(&mut transaction, &letters(&user, &[])).await?;
                db.commit(transaction).await?;
                Ok(Changed::Done(user))
            })
        })
        .await
    }

    /// Whether a user with this address was deleted, ignoring case.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn was_deleted(&self, email: &str) -> Result<bool, StoreError> {
        let email = email.to_owned();
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let found = query_scalar!(
                    r#"SELECT EXISTS(SELECT 1 FROM deleted_users
                     WHERE email_hash = sha256(convert_to(lower($1), 'UTF8'))) AS "deleted!""#,
                    email
                );
                db.run("SELECT", "deleted_users", found.fetch_one(connection)).await
            })
        })
        .await
    }
}
