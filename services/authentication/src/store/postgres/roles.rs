//! Who may sign in to the database itself.
//!
//! All that is made belongs to one role, the server's first superuser, so that one user's migrations can change what another
//! made: each user of ours is a member of that role, and becomes it as it signs in. Texts are quoted by the server itself.

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, query_scalar, raw_sql};

use super::error::classify;
use super::{Cause, StoreError, options};
use crate::config::StoreConfig;

/// The first superuser, whatever its name: its id is fixed.
const OWNER: &str = "SELECT rolname::text FROM pg_roles WHERE oid = 10";
const IS_THERE: &str = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1::text)";
const MAKE: &str = "SELECT concat_ws('; ',
    CASE WHEN NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1::text) THEN format('CREATE ROLE %I', $1::text) END,
    format('ALTER ROLE %I LOGIN PASSWORD %L', $1::text, $2::text),
    format('GRANT %I TO %I', $3::text, $1::text),
    format('ALTER ROLE %I SET role TO %I', $1::text, $3::text))";
const LOCK: &str = "SELECT format('ALTER ROLE %I NOLOGIN PASSWORD NULL', $1::text)";
const END_SESSIONS: &str =
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = $1::text";
const DROP: &str =
    "SELECT format('REASSIGN OWNED BY %1$I TO %2$I; DROP OWNED BY %1$I; DROP ROLE %1$I', $1::text, $2::text)";

/// Something in another database is that role's.
const STILL_OWNS: &str = "2BP01";

/// Makes a user who may do what we may, or gives the one that is there this password.
///
/// # Errors
/// When PostgreSQL can't be reached or refuses.
pub async fn grant(config: &StoreConfig, username: &str, password: &SecretString) -> Result<(), StoreError> {
    let mut connection = connect(config).await?;
    let owner = owner(&mut connection).await?;
    let make = query_scalar::<_, String>(MAKE).bind(username).bind(password.expose_secret()).bind(owner);
    let statements = make.fetch_one(&mut connection).await.map_err(classify)?;
    run(&mut connection, statements).await.map_err(classify)
}

/// Takes a user away and ends its sessions. The first superuser can't be dropped: it may sign in no longer.
///
/// # Errors
/// When PostgreSQL can't be reached or refuses, or it is the user that we are.
pub async fn retire(config: &StoreConfig, username: &str) -> Result<(), StoreError> {
    let mut connection = connect(config).await?;
    let me: String = scalar(&mut connection, "SELECT session_user::text").await?;
    if me == username {
        return Err(StoreError::Failed(Cause::new(format!(
            "{username} is the user that DATABASE_URL names"
        ))));
    }
    let is_there = query_scalar::<_, bool>(IS_THERE).bind(username).fetch_one(&mut connection).await;
    if !is_there.map_err(classify)? {
        return Ok(());
    }
    let lock = query_scalar::<_, String>(LOCK).bind(username).fetch_one(&mut connection).await;
    run(&mut connection, lock.map_err(classify)?).await.map_err(classify)?;
    let ended = query_scalar::<_, i64>(END_SESSIONS).bind(username).fetch_one(&mut connection).await;
    ended.map_err(classify)?;
    let owner = owner(&mut connection).await?;
    if owner == username {
        return Ok(());
    }
    let drop = query_scalar::<_, String>(DROP).bind(username).bind(owner).fetch_one(&mut connection).await;
    match run(&mut connection, drop.map_err(classify)?).await {
        // It can't sign in, and that is what counts.
        Err(sqlx::Error::Database(refused)) if refused.code().as_deref() == Some(STILL_OWNS) => Ok(()),
        done => done.map_err(classify),
    }
}

async fn connect(config: &StoreConfig) -> Result<PgConnection, StoreError> {
    let unreadable = || StoreError::Failed(Cause::new("DATABASE_URL is no URL of a PostgreSQL database"));
    options(config).ok_or_else(unreadable)?.connect().await.map_err(classify)
}

async fn owner(connection: &mut PgConnection) -> Result<String, StoreError> {
    scalar(connection, OWNER).await
}

async fn scalar(connection: &mut PgConnection, query: &'static str) -> Result<String, StoreError> {
    query_scalar(query).fetch_one(connection).await.map_err(classify)
}

/// Runs what the server has quoted, all of it or nothing.
async fn run(connection: &mut PgConnection, statements: String) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    raw_sql(AssertSqlSafe(statements)).execute(&mut *transaction).await?;
    transaction.commit().await
}
