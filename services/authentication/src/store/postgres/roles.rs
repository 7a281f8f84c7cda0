//! Roles in PostgreSQL: the owner of the database, and the users that the service connects as.
//!
//! The owner ([`OWNER`]) cannot log in and is not a superuser. Each user is a member of the owner and assumes its role at
//! login, so that the migrations of one user can change objects of another. Owner and users can't connect to other databases. The Job
//! that changes roles connects as a superuser. The server quotes all names and passwords.

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::migrate::Migrate as _;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, query, query_scalar, raw_sql};

use super::error::{classify, classify_migration};
use super::{Cause, SERVER_TIMEOUTS, StoreConfig, StoreError, options};

/// Owns the database and everything in it.
const OWNER: &str = "weft_owner";
/// The first superuser, whatever its name: its id is fixed, and it cannot be dropped.
const FIRST_SUPERUSER: &str = "SELECT rolname::text FROM pg_roles WHERE oid = 10";
const IS_THERE: &str = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1::text)";
const LIMITED: &str = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS";
/// Waits for locks are short, because the service's statements queue up behind a waiting lock; the Job is retried. Statements
/// are not logged, because they contain the password.
const GRANT_SETTINGS: &str = "SET lock_timeout = '2s'; SET log_statement = none; SET log_min_error_statement = panic;
    SET log_min_duration_statement = -1; SET log_min_duration_sample = -1; SET log_transaction_sample_rate = 0;
    SET log_parameter_max_length_on_error = 0";
/// Creates the owner, gives it the database, and revokes public access to this and the default databases. `$1` is the owner, `$2` its
/// attributes. The first superuser becomes a member: an earlier version made users of the service members of that superuser, one of them
/// may be the user in `DATABASE_URL`, and without this they could no longer connect.
const MAKE_OWNER: &str = "SELECT concat_ws('; ',
    CASE WHEN NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1::text) THEN format('CREATE ROLE %I', $1::text) END,
    format('ALTER ROLE %I NOLOGIN ' || $2::text, $1::text),
    (SELECT format('GRANT %I TO %I', $1::text, rolname) FROM pg_roles WHERE oid = 10),
    format('ALTER DATABASE %I OWNER TO %I', current_database(), $1::text),
    (SELECT string_agg(format('REVOKE ALL ON DATABASE %I FROM PUBLIC', datname), '; ') FROM pg_database
        WHERE datname IN (current_database(), 'postgres', 'template1')))";
/// Makes `$1` the owner of what superusers own in this database. Objects with another owner are not locked.
const HAND_OVER: &str = "SELECT string_agg(format('ALTER %s OWNER TO %I', object, $1::text), '; ') FROM (
    SELECT format('SCHEMA %I', nspname) AS object, nspowner AS owner, oid, 'pg_namespace'::regclass AS class
        FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
    UNION ALL SELECT format('%s %s', CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
            WHEN 'S' THEN 'SEQUENCE' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, oid::regclass),
        relowner, oid, 'pg_class'::regclass FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    UNION ALL SELECT format('ROUTINE %s', oid::regprocedure), proowner, oid, 'pg_proc'::regclass FROM pg_proc
    UNION ALL SELECT format('TYPE %s', oid::regtype), typowner, oid, 'pg_type'::regclass FROM pg_type
        WHERE typtype IN ('e', 'd', 'r')) AS objects
    WHERE owner IN (SELECT oid FROM pg_roles WHERE rolsuper)
        AND (oid >= 16384 OR class = 'pg_namespace'::regclass)
        AND NOT EXISTS (SELECT FROM pg_depend
            WHERE classid = class AND objid = objects.oid AND deptype IN ('a', 'i', 'e'))";
/// Creates or updates a user. `$1` is the user, `$2` the password, `$3` the owner, `$4` the attributes. Revokes other memberships,
/// because an earlier version made users members of a superuser.
const MAKE_USER: &str = "SELECT concat_ws('; ',
    CASE WHEN NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1::text) THEN format('CREATE ROLE %I', $1::text) END,
    format('ALTER ROLE %I LOGIN PASSWORD %L ' || $4::text, $1::text, $2::text),
    (SELECT string_agg(format('REVOKE %I FROM %I', of.rolname, $1::text), '; ')
        FROM pg_auth_members AS membership JOIN pg_roles AS of ON of.oid = membership.roleid
        JOIN pg_roles AS one ON one.oid = membership.member
        WHERE one.rolname = $1::text AND of.rolname <> $3::text),
    format('GRANT %I TO %I', $3::text, $1::text),
    format('ALTER ROLE %I SET role TO %I', $1::text, $3::text))";
const ASSUME_OWNER: &str = "SELECT set_config('role', rolname, false) FROM pg_database JOIN pg_roles AS owner ON owner.oid = datdba
    WHERE datname = current_database() AND rolname = $1::text AND pg_has_role(session_user, owner.oid, 'MEMBER')";
const LOCK: &str = "SELECT format('ALTER ROLE %I NOLOGIN PASSWORD NULL', $1::text)";
const END_SESSIONS: &str =
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = $1::text";
/// If there is no owner role yet, the user's objects go to the first superuser.
const DROP: &str = "SELECT format('REASSIGN OWNED BY %1$I TO %2$I; DROP OWNED BY %1$I; DROP ROLE %1$I', $1::text,
    (SELECT rolname FROM pg_roles WHERE rolname = $2::text OR oid = 10 ORDER BY rolname = $2::text DESC LIMIT 1))";

/// SQLSTATE: the role still owns objects, in another database.
const STILL_OWNS: &str = "2BP01";

/// Creates a user with all rights in this database and none outside it, or sets password and rights of the existing user.
/// Idempotent.
///
/// # Errors
/// When PostgreSQL is unreachable or refuses, or the user is the one in `DATABASE_URL`.
pub async fn grant(config: &StoreConfig, username: &str, password: &SecretString) -> Result<(), StoreError> {
    let mut connection = connect(config).await?;
    refuse_own_user(&mut connection, username).await?;
    raw_sql(GRANT_SETTINGS).execute(&mut connection).await.map_err(classify)?;
    let owner = query_scalar::<_, Option<String>>(MAKE_OWNER).bind(OWNER).bind(LIMITED);
    let hand_over = query_scalar::<_, Option<String>>(HAND_OVER).bind(OWNER);
    let user = query_scalar::<_, Option<String>>(MAKE_USER).bind(username).bind(password.expose_secret());
    let user = user.bind(OWNER).bind(LIMITED);
    // A migration either has ended, and its objects are handed over, or waits and then runs as the owner. The lock ends with the
    // connection.
    connection.lock().await.map_err(classify_migration)?;
    let mut transaction = connection.begin().await.map_err(classify)?;
    // Three messages: another session's deadlock report quotes the whole message that waits for a table, and must not quote the password.
    for change in [owner, hand_over, user] {
        let statements = change.fetch_one(&mut *transaction).await.map_err(classify)?.unwrap_or_default();
        raw_sql(AssertSqlSafe(statements)).execute(&mut *transaction).await.map_err(classify)?;
    }
    transaction.commit().await.map_err(classify)
}

/// If the owner has the database, what the session creates from now on belongs to the owner, even if the user is a superuser. Requires
/// the migration lock: a rotation may create the owner until then.
pub(super) async fn assume_owner(connection: &mut PgConnection) -> Result<(), StoreError> {
    query(ASSUME_OWNER).bind(OWNER).execute(connection).await.map(drop).map_err(classify)
}

/// Drops a user and ends its sessions. The first superuser can't be dropped; it loses the right to log in. Idempotent.
///
/// # Errors
/// When PostgreSQL is unreachable or refuses, or the user is the one in `DATABASE_URL`.
pub async fn retire(config: &StoreConfig, username: &str) -> Result<(), StoreError> {
    let mut connection = connect(config).await?;
    refuse_own_user(&mut connection, username).await?;
    let is_there = query_scalar::<_, bool>(IS_THERE).bind(username).fetch_one(&mut connection).await;
    if !is_there.map_err(classify)? {
        return Ok(());
    }
    let lock = query_scalar::<_, String>(LOCK).bind(username).fetch_one(&mut connection).await;
    run(&mut connection, lock.map_err(classify)?).await.map_err(classify)?;
    let ended = query_scalar::<_, i64>(END_SESSIONS).bind(username).fetch_one(&mut connection).await;
    ended.map_err(classify)?;
    if scalar(&mut connection, FIRST_SUPERUSER).await? == username {
        return Ok(());
    }
    let drop = query_scalar::<_, String>(DROP).bind(username).bind(OWNER).fetch_one(&mut connection).await;
    match run(&mut connection, drop.map_err(classify)?).await {
        // The user can no longer log in, which is sufficient.
        Err(sqlx::Error::Database(refused)) if refused.code().as_deref() == Some(STILL_OWNS) => Ok(()),
        done => done.map_err(classify),
    }
}

async fn connect(config: &StoreConfig) -> Result<PgConnection, StoreError> {
    let invalid = || {
        StoreError::Failed(Cause::new(
            "DATABASE_URL: invalid URL; expected postgres://user:password@host:5432/database",
        ))
    };
    options(config).ok_or_else(invalid)?.options(SERVER_TIMEOUTS).connect().await.map_err(classify)
}

async fn refuse_own_user(connection: &mut PgConnection, username: &str) -> Result<(), StoreError> {
    if scalar(connection, "SELECT session_user::text").await? != username {
        return Ok(());
    }
    Err(StoreError::Failed(Cause::new(format!("{username} is the user that DATABASE_URL names"))))
}

async fn scalar(connection: &mut PgConnection, query: &'static str) -> Result<String, StoreError> {
    query_scalar(query).fetch_one(connection).await.map_err(classify)
}

/// Runs statements that the server has quoted, in one transaction.
async fn run(connection: &mut PgConnection, statements: String) -> sqlx::Result<()> {
    let mut transaction = connection.begin().await?;
    raw_sql(AssertSqlSafe(statements)).execute(&mut *transaction).await?;
    transaction.commit().await
}
