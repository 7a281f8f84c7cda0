use jiff::Timestamp;
use sqlx::types::Json;
use sqlx::{PgConnection, query, query_as, query_scalar};
use uuid::Uuid;

use super::PostgresStore;
use super::rows::{AccountRow, SessionRow, from_db, to_db};
use super::unit::Statements;
use crate::outbox::Letter;
use crate::session::{Presented, RefreshHash, Session, TokenState, Uses};
use crate::store::{Compose, OpenAt, Opened, Opening, Rotated, StoreError, Which};
use crate::user::{Account, User};

impl Statements {
    /// Replaces a hash of an older kind, if nothing has changed since the password was checked.
    async fn renew_hash(
        &self,
        transaction: &mut PgConnection,
        opening: &Opening,
        renewed: &str,
    ) -> Result<bool, StoreError> {
        let renewed = query_scalar!(
            "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2 AND active RETURNING id",
            opening.session.user_id,
            opening.checked_hash,
            renewed
        );
        let renewed = self.run("UPDATE", "users", renewed.fetch_optional(&mut *transaction)).await?;
        Ok(renewed.is_some())
    }

    /// Opens a session in one statement, if the user still has this password hash. The user's row is locked until the end of the
    /// transaction, so that a concurrent deactivation or password change waits and then finds the new session.
    async fn open_checked(
        &self,
        connection: &mut PgConnection,
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
        let opened = self.run("INSERT", "sessions", opened.execute(connection)).await?;
        Ok(if opened.rows_affected() == 0 { Opened::Stale } else { Opened::Done })
    }

    async fn add_refresh_token(
        &self,
        transaction: &mut PgConnection,
        hash: &RefreshHash,
        parent: &RefreshHash,
        session: &Session,
    ) -> Result<(), StoreError> {
        let added = query!(
            "INSERT INTO refresh_tokens (hash, session_id, created_at, parent) VALUES ($1, $2, $3, $4)",
            hash.as_slice(),
            session.id,
            to_db(session.last_used_at),
            parent.as_slice()
        );
        self.run("INSERT", "refresh_tokens", added.execute(&mut *transaction)).await.map(drop)
    }

    /// Finds a refresh token and its state. Locks its session until the transaction ends. Does not lock the token: a deletion locks the
    /// session before its tokens, and the opposite order would deadlock.
    async fn presented(
        &self,
        transaction: &mut PgConnection,
        presented: &RefreshHash,
        open: &OpenAt,
    ) -> Result<Option<(User, Session, TokenState)>, StoreError> {
        let found = query!(
            "SELECT s.id, s.user_id, s.created_at, s.last_used_at, s.expires_at, s.client_address, \
               s.user_agent, s.ended_at \
             FROM refresh_tokens t JOIN sessions s ON s.id = t.session_id \
             WHERE t.hash = $1 FOR UPDATE OF s",
            presented.as_slice()
        );
        let found = self.run("SELECT", "refresh_tokens", found.fetch_optional(&mut *transaction)).await?;
        let Some(row) = found else { return Ok(None) };
        let uses = self.uses(transaction, presented).await?;
        let user = self.user_of(transaction, row.user_id).await?;
        let session = Session {
            id: row.id,
            user_id: row.user_id,
            created_at: from_db(row.created_at),
            last_used_at: from_db(row.last_used_at),
            expires_at: from_db(row.expires_at),
            client_address: row.client_address,
            user_agent: row.user_agent,
        };
        let token = Presented {
            ended: row.ended_at.is_some(),
            last_used_at: session.last_used_at,
            expires_at: session.expires_at,
            user_active: user.active,
            uses,
        };
        let state = token.state(open.now, &open.lifetimes);
        Ok(Some((user, session, state)))
    }

    /// First uses of a token and of related tokens. A separate statement after the lock, so that it sees what the previous holder of
    /// the lock has written. Tokens of versions without the column `parent` were issued at the time their parent was first used.
    async fn uses(
        &self,
        transaction: &mut PgConnection,
        presented: &RefreshHash,
    ) -> Result<Uses, StoreError> {
        let found = query!(
            "SELECT t.used_at, \
               least(t.used_at, \
                 (SELECT min(f.used_at) FROM refresh_tokens f WHERE f.parent = t.parent)) AS family, \
               least( \
                 (SELECT min(c.used_at) FROM refresh_tokens c WHERE c.parent = t.hash), \
                 (SELECT min(c.used_at) FROM refresh_tokens c \
                  WHERE c.session_id = t.session_id AND c.parent IS NULL AND c.created_at = t.used_at) \
               ) AS successor \
             FROM refresh_tokens t WHERE t.hash = $1",
            presented.as_slice()
        );
        let found = self.run("SELECT", "refresh_tokens", found.fetch_one(&mut *transaction)).await?;
        let (own, family, successor) = (found.used_at, found.family, found.successor);
        Ok(Uses { own: own.map(from_db), family: family.map(from_db), successor: successor.map(from_db) })
    }

    async fn end(
        &self,
        transaction: &mut PgConnection,
        session: Uuid,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let ended = query!("UPDATE sessions SET ended_at = $2 WHERE id = $1", session, to_db(now));
        self.run("UPDATE", "sessions", ended.execute(&mut *transaction)).await.map(drop)
    }

    async fn user_of(&self, transaction: &mut PgConnection, user_id: Uuid) -> Result<User, StoreError> {
        let found = query_as!(AccountRow, "SELECT * FROM users WHERE id = $1", user_id);
        let found = self.run("SELECT", "users", found.fetch_one(&mut *transaction)).await?;
        Ok(Account::try_from(found)?.user)
    }
}

impl PostgresStore {
    /// Opens a session for a user whose password was right.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn open_session(&self, opening: &Opening) -> Result<Opened, StoreError> {
        let opening = opening.clone();
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let Some(renewed) = &opening.renewed_hash else {
                    return db.open_checked(connection, &opening, &opening.checked_hash).await;
                };
                let mut transaction = db.begin(connection).await?;
                if !db.renew_hash(&mut transaction, &opening, renewed).await? {
                    return Ok(Opened::Stale);
                }
                let opened = db.open_checked(&mut transaction, &opening, renewed).await?;
                db.commit(transaction).await?;
                Ok(opened)
            })
        })
        .await
    }

    /// The account of a user, if the user is active and the session is open.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn signed_in(
        &self,
        user_id: Uuid,
        session_id: Uuid,
        open: &OpenAt,
    ) -> Result<Option<Account>, StoreError> {
        let open = *open;
        self.bounded(move |db, connection| {
            Box::pin(async move {
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
                let found = db.run("SELECT", "users", found.fetch_optional(&mut *connection)).await?;
                found.map(Account::try_from).transpose()
            })
        })
        .await
    }

    /// Uses a refresh token and issues the next one. A replay ends the session.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn rotate(
        &self,
        presented: &RefreshHash,
        next: &RefreshHash,
        open: &OpenAt,
        on_replay: Compose,
    ) -> Result<Rotated, StoreError> {
        let (presented, next, open) = (*presented, *next, *open);
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let mut transaction = db.begin(connection).await?;
                let found = db.presented(&mut transaction, &presented, &open).await?;
                let Some((user, session, state)) = found else { return Ok(Rotated::Refused) };
                let rotated = match state {
                    TokenState::Ended => return Ok(Rotated::Refused),
                    TokenState::Replay => {
                        db.end(&mut transaction, session.id, open.now).await?;
                        db.post(&mut transaction, &on_replay(&user, &[session])).await?;
                        Rotated::Replay
                    }
                    TokenState::Valid => {
                        let session = Session { last_used_at: open.now, ..session };
                        let used = query!(
                            "UPDATE refresh_tokens SET used_at = coalesce(used_at, $2) WHERE hash = $1",
                            presented.as_slice(),
                            to_db(open.now)
                        );
                        db.run("UPDATE", "refresh_tokens", used.execute(&mut *transaction)).await?;
                        let seen = query!(
                            "UPDATE sessions SET last_used_at = $2 WHERE id = $1",
                            session.id,
                            to_db(open.now)
                        );
                        db.run("UPDATE", "sessions", seen.execute(&mut *transaction)).await?;
                        db.add_refresh_token(&mut transaction, &next, &presented, &session).await?;
                        Rotated::Next(Box::new((user, session)))
                    }
                };
                db.commit(transaction).await?;
                Ok(rotated)
            })
        })
        .await
    }

    /// Ends the session of a refresh token that [`Self::rotate`] would accept, or of a replay. Returns the state of the token;
    /// `None` if it is unknown.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn end_by_token(
        &self,
        presented: &RefreshHash,
        open: &OpenAt,
        on_end: Compose,
        on_replay: Compose,
    ) -> Result<Option<TokenState>, StoreError> {
        let (presented, open) = (*presented, *open);
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let mut transaction = db.begin(connection).await?;
                let found = db.presented(&mut transaction, &presented, &open).await?;
                let Some((user, session, state)) = found else { return Ok(None) };
                let letters = match state {
                    TokenState::Ended => return Ok(Some(state)),
                    TokenState::Valid => on_end,
                    TokenState::Replay => on_replay,
                };
                db.end(&mut transaction, session.id, open.now).await?;
                db.post(&mut transaction, &letters(&user, &[session])).await?;
                db.commit(transaction).await?;
                Ok(Some(state))
            })
        })
        .await
    }

    /// The open sessions of a user, newest first.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn open_sessions(&self, user_id: Uuid, open: &OpenAt) -> Result<Vec<Session>, StoreError> {
        let open = *open;
        self.bounded(move |db, connection| Box::pin(async move {
            let found = query_as!(
                SessionRow,
                "SELECT id, user_id, created_at, last_used_at, expires_at, client_address, user_agent \
                 FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2 AND last_used_at > $3 \
                 ORDER BY created_at DESC, id DESC LIMIT 1000",
                user_id,
                to_db(open.now),
                to_db(open.lifetimes.idle_since(open.now))
            );
            let found = db.run("SELECT", "sessions", found.fetch_all(&mut *connection)).await?;
            Ok(found.into_iter().map(Session::from).collect())
        }))
        .await
    }

    /// Ends sessions and returns those that were open. Writes the letters if there were any.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn end_sessions(
        &self,
        which: Which,
        open: &OpenAt,
        letters: Compose,
    ) -> Result<Vec<Session>, StoreError> {
        let open = *open;
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let (user_id, session_id) = match which {
                    Which::One { user_id, session_id } => (user_id, Some(session_id)),
                    Which::All { user_id } => (user_id, None),
                };
                let mut transaction = db.begin(connection).await?;
                let ended = query_as!(
                    SessionRow,
                    "UPDATE sessions SET ended_at = $3 \
                 WHERE user_id = $1 AND ($2::uuid IS NULL OR id = $2) AND ended_at IS NULL \
                 RETURNING id, user_id, created_at, last_used_at, expires_at, client_address, user_agent",
                    user_id,
                    session_id,
                    to_db(open.now)
                );
                let ended = db.run("UPDATE", "sessions", ended.fetch_all(&mut *transaction)).await?;
                let idle_since = open.lifetimes.idle_since(open.now);
                let was_open =
                    |session: &Session| session.expires_at > open.now && session.last_used_at > idle_since;
                let ended: Vec<Session> = ended.into_iter().map(Session::from).filter(was_open).collect();
                if !ended.is_empty() {
                    let user = db.user_of(&mut transaction, user_id).await?;
                    db.post(&mut transaction, &letters(&user, &ended)).await?;
                }
                db.commit(transaction).await?;
                Ok(ended)
            })
        })
        .await
    }

    /// Whether the user has or had this session.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn has_session(&self, user_id: Uuid, session_id: Uuid) -> Result<bool, StoreError> {
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let found = query_scalar!(
                    "SELECT id FROM sessions WHERE id = $1 AND user_id = $2",
                    session_id,
                    user_id
                );
                let found = db.run("SELECT", "sessions", found.fetch_optional(&mut *connection)).await?;
                Ok(found.is_some())
            })
        })
        .await
    }
}
