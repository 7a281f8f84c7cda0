use async_trait::async_trait;
use sqlx::types::Json;
use sqlx::{PgExecutor, PgTransaction, query, query_as, query_scalar};
use uuid::Uuid;

use super::PostgresStore;
use super::rows::{AccountRow, SessionRow, from_db, to_db};
use crate::outbox::Letter;
use crate::session::{Presented, RefreshHash, Session, Worth};
use crate::store::{Compose, OpenAt, Opened, Opening, Rotated, Sessions, StoreError, Which};
use crate::user::{Account, User};

impl PostgresStore {
    /// Replaces a hash of an older kind, if nothing has changed since the password was checked.
    async fn renew_hash(
        &self,
        transaction: &mut PgTransaction<'static>,
        opening: &Opening,
        renewed: &str,
    ) -> Result<bool, StoreError> {
        let renewed = query_scalar!(
            "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2 AND active RETURNING id",
            opening.session.user_id,
            opening.checked_hash,
            renewed
        );
        let renewed = self.run("UPDATE", "users", renewed.fetch_optional(&mut **transaction)).await?;
        Ok(renewed.is_some())
    }

    /// Opens a session in one statement, if the person still has this hash. Their row stays locked until its end: whoever
    /// deactivates the person or changes the password waits, and then finds the new session.
    async fn open_checked(
        &self,
        executor: impl PgExecutor<'_>,
        opening: &Opening,
        hash: &str,
    ) -> Result<Opened, StoreError> {
        let Opening { session, refresh, failures, letter, checked_hash: _, renewed_hash: _ } = opening;
        let Session { id, user_id, created_at, last_used_at, expires_at, client_address, user_agent } =
            session;
        let Letter { id: letter_id, message, trace, created_at: written_at } = letter;
        let opened = query!(
            "WITH checked AS ( \
               SELECT id FROM users WHERE id = $1 AND password_hash = $2 AND active FOR SHARE \
             ), opened AS ( \
               INSERT INTO sessions \
                 (id, user_id, created_at, last_used_at, expires_at, client_address, user_agent) \
               SELECT $3, id, $4, $5, $6, $7, $8 FROM checked RETURNING id \
             ), token AS ( \
               INSERT INTO refresh_tokens (hash, session_id, created_at) SELECT $9, id, $5 FROM opened \
             ), forgiven AS ( \
               DELETE FROM sign_in_failures WHERE key = $10 AND EXISTS (SELECT FROM opened) \
             ) \
             INSERT INTO outbox (id, recipient, payload, traceparent, tracestate, created_at, due_at) \
             SELECT $11, $12, $13, $14, $15, $16, $16 FROM opened",
            user_id,
            hash,
            id,
            to_db(*created_at),
            to_db(*last_used_at),
            to_db(*expires_at),
            client_address,
            user_agent,
            refresh.as_slice(),
            failures.as_slice(),
            letter_id,
            message.recipient().as_str(),
            Json(message) as _,
            trace.parent,
            trace.state,
            to_db(*written_at)
        );
        let opened = self.run("INSERT", "sessions", opened.execute(executor)).await?;
        Ok(if opened.rows_affected() == 0 { Opened::Stale } else { Opened::Done })
    }

    async fn add_refresh_token(
        &self,
        transaction: &mut PgTransaction<'static>,
        hash: &RefreshHash,
        session: &Session,
    ) -> Result<(), StoreError> {
        let added = query!(
            "INSERT INTO refresh_tokens (hash, session_id, created_at) VALUES ($1, $2, $3)",
            hash.as_slice(),
            session.id,
            to_db(session.last_used_at)
        );
        self.run("INSERT", "refresh_tokens", added.execute(&mut **transaction)).await.map(drop)
    }

    async fn user_of(
        &self,
        transaction: &mut PgTransaction<'static>,
        user_id: Uuid,
    ) -> Result<User, StoreError> {
        let found = query_as!(AccountRow, "SELECT * FROM users WHERE id = $1", user_id);
        let found = self.run("SELECT", "users", found.fetch_one(&mut **transaction)).await?;
        Ok(Account::try_from(found)?.user)
    }
}

#[async_trait]
impl Sessions for PostgresStore {
    async fn open_session(&self, opening: &Opening) -> Result<Opened, StoreError> {
        self.bounded(async {
            let Some(renewed) = &opening.renewed_hash else {
                return self.open_checked(&self.pool, opening, &opening.checked_hash).await;
            };
            let mut transaction = self.begin().await?;
            if !self.renew_hash(&mut transaction, opening, renewed).await? {
                return Ok(Opened::Stale);
            }
            let opened = self.open_checked(&mut *transaction, opening, renewed).await?;
            self.commit(transaction).await?;
            Ok(opened)
        })
        .await
    }

    async fn signed_in(
        &self,
        user_id: Uuid,
        session_id: Uuid,
        open: &OpenAt,
    ) -> Result<Option<Account>, StoreError> {
        self.bounded(async {
            let found = query_as!(
                AccountRow,
                "SELECT u.* FROM users u JOIN sessions s ON s.user_id = u.id \
                 WHERE u.id = $1 AND s.id = $2 AND u.active \
                   AND s.ended_at IS NULL AND s.expires_at > $3 AND s.last_used_at > $4",
                user_id,
                session_id,
                to_db(open.now),
                to_db(open.lifetimes.idle_since(open.now))
            );
            let found = self.run("SELECT", "users", found.fetch_optional(&self.pool)).await?;
            found.map(Account::try_from).transpose()
        })
        .await
    }

    async fn rotate(
        &self,
        presented: &RefreshHash,
        next: &RefreshHash,
        open: &OpenAt,
        on_replay: Compose<'_>,
    ) -> Result<Rotated, StoreError> {
        self.bounded(async {
            let mut transaction = self.begin().await?;
            let found = query!(
                "SELECT t.used_at, s.id, s.user_id, s.created_at, s.last_used_at, s.expires_at, s.client_address, \
                   s.user_agent, s.ended_at \
                 FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id \
                 WHERE t.hash = $1 FOR UPDATE",
                presented.as_slice()
            );
            let found = self.run("SELECT", "refresh_tokens", found.fetch_optional(&mut *transaction)).await?;
            let Some(row) = found else { return Ok(Rotated::Refused) };
            let user = self.user_of(&mut transaction, row.user_id).await?;
            let token = Presented {
                used: row.used_at.is_some(),
                ended: row.ended_at.is_some(),
                last_used_at: from_db(row.last_used_at),
                expires_at: from_db(row.expires_at),
                user_active: user.active,
            };
            let session = Session {
                id: row.id,
                user_id: row.user_id,
                created_at: from_db(row.created_at),
                last_used_at: open.now,
                expires_at: from_db(row.expires_at),
                client_address: row.client_address,
                user_agent: row.user_agent,
            };
            let rotated = match token.worth(open.now, &open.lifetimes) {
                Worth::Over => return Ok(Rotated::Refused),
                Worth::Replay => {
                    let ended =
                        query!("UPDATE sessions SET ended_at = $2 WHERE id = $1", row.id, to_db(open.now));
                    self.run("UPDATE", "sessions", ended.execute(&mut *transaction)).await?;
                    self.post(&mut transaction, &on_replay(&user, &[session])).await?;
                    Rotated::Replay
                }
                Worth::Next => {
                    let used = query!(
                        "UPDATE refresh_tokens SET used_at = $2 WHERE hash = $1",
                        presented.as_slice(),
                        to_db(open.now)
                    );
                    self.run("UPDATE", "refresh_tokens", used.execute(&mut *transaction)).await?;
                    let seen =
                        query!("UPDATE sessions SET last_used_at = $2 WHERE id = $1", row.id, to_db(open.now));
                    self.run("UPDATE", "sessions", seen.execute(&mut *transaction)).await?;
                    self.add_refresh_token(&mut transaction, next, &session).await?;
                    Rotated::Next(Box::new((user, session)))
                }
            };
            self.commit(transaction).await?;
            Ok(rotated)
        })
        .await
    }

    async fn owner_of_refresh_token(&self, hash: &RefreshHash) -> Result<Option<(Uuid, Uuid)>, StoreError> {
        self.bounded(async {
            let found = query!(
                "SELECT s.user_id, s.id FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id \
                 WHERE t.hash = $1",
                hash.as_slice()
            );
            let found = self.run("SELECT", "refresh_tokens", found.fetch_optional(&self.pool)).await?;
            Ok(found.map(|row| (row.user_id, row.id)))
        })
        .await
    }

    async fn open_sessions(&self, user_id: Uuid, open: &OpenAt) -> Result<Vec<Session>, StoreError> {
        self.bounded(async {
            let found = query_as!(
                SessionRow,
                "SELECT id, user_id, created_at, last_used_at, expires_at, client_address, user_agent \
                 FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2 AND last_used_at > $3 \
                 ORDER BY created_at DESC, id DESC LIMIT 1000",
                user_id,
                to_db(open.now),
                to_db(open.lifetimes.idle_since(open.now))
            );
            let found = self.run("SELECT", "sessions", found.fetch_all(&self.pool)).await?;
            Ok(found.into_iter().map(Session::from).collect())
        })
        .await
    }

    async fn end_sessions(
        &self,
        which: Which,
        open: &OpenAt,
        letters: Compose<'_>,
    ) -> Result<Vec<Session>, StoreError> {
        self.bounded(async {
            let (user_id, session_id) = match which {
                Which::One { user_id, session_id } => (user_id, Some(session_id)),
                Which::All { user_id } => (user_id, None),
            };
            let mut transaction = self.begin().await?;
            let ended = query_as!(
                SessionRow,
                "UPDATE sessions SET ended_at = $3 \
                 WHERE user_id = $1 AND ($2::uuid IS NULL OR id = $2) AND ended_at IS NULL \
                 RETURNING id, user_id, created_at, last_used_at, expires_at, client_address, user_agent",
                user_id,
                session_id,
                to_db(open.now)
            );
            let ended = self.run("UPDATE", "sessions", ended.fetch_all(&mut *transaction)).await?;
            let idle_since = open.lifetimes.idle_since(open.now);
            let was_open =
                |session: &Session| session.expires_at > open.now && session.last_used_at > idle_since;
            let ended: Vec<Session> = ended.into_iter().map(Session::from).filter(was_open).collect();
            if !ended.is_empty() {
                let user = self.user_of(&mut transaction, user_id).await?;
                self.post(&mut transaction, &letters(&user, &ended)).await?;
            }
            self.commit(transaction).await?;
            Ok(ended)
        })
        .await
    }

    async fn has_session(&self, user_id: Uuid, session_id: Uuid) -> Result<bool, StoreError> {
        self.bounded(async {
            let found =
                query_scalar!("SELECT id FROM sessions WHERE id = $1 AND user_id = $2", session_id, user_id);
            let found = self.run("SELECT", "sessions", found.fetch_optional(&self.pool)).await?;
            Ok(found.is_some())
        })
        .await
    }
}
