//! Credential rotation while the service still connects as an earlier version's superuser, and what the server logs of it.

use std::fs;
use std::str::FromStr as _;

use anyhow::{Result, ensure};
use sqlx::migrate::Migrate as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, raw_sql};
use weft_devstack::{Postgres, ServiceOptions, StateDir};

use crate::credentials::{as_user, check_success, command, failure, flag, text};
use crate::helpers::{Rig, until};

/// What an earlier version's rotation left: a member of the first superuser, which can no longer log in.
const ROTATED: &str = "CREATE ROLE weft_1 LOGIN PASSWORD 'a password'; GRANT weft TO weft_1; ALTER ROLE weft_1 SET role TO weft;
    ALTER ROLE weft NOLOGIN PASSWORD NULL";

const OWNERS: &str = "SELECT string_agg(DISTINCT tableowner, ' ') FROM pg_tables WHERE schemaname = 'public'";

/// The connection options for a new database.
async fn new_database(rig: &Rig) -> Result<PgConnectOptions> {
    raw_sql("CREATE DATABASE shop").execute(&mut rig.database().await?).await?;
    Ok(PgConnectOptions::from_str(rig.store.uri())?.database("shop"))
}

#[tokio::test]
async fn a_user_that_an_earlier_version_rotated_keeps_its_access() -> Result<()> {
    let rig = Rig::start().await?;
    let shop = new_database(&rig).await?;
    raw_sql(ROTATED).execute(&mut rig.database().await?).await?;
    let former = shop.username("weft_1").password("a password");
    raw_sql("CREATE TABLE people (id int)").execute(&mut former.connect().await?).await?;
    let uri = former.to_url_lossy();

    // The second one is the Job's next run.
    for _ in 0..2 {
        check_success(&command("grant", uri.as_str(), "weft_2", "a password")?)?;
    }
    // A pod that has not yet moved to the new user.
    let mut session = former.connect().await?;
    assert_eq!(text(&mut session, "SELECT current_user::text").await?, "weft");
    raw_sql("INSERT INTO people VALUES (1)").execute(&mut session).await?;

    let replica = rig.replica("former", ServiceOptions::default().env("DATABASE_URL", uri.as_str()))?;
    replica.await_ready().await?;
    assert_eq!(text(&mut session, OWNERS).await?, "weft_owner", "migrations run as the owner role");
    Ok(())
}

#[tokio::test]
async fn a_grant_and_a_migration_exclude_each_other() -> Result<()> {
    let rig = Rig::start().await?;
    let shop = new_database(&rig).await?;
    let uri = shop.to_url_lossy();
    let mut other = shop.connect().await?;
    other.lock().await?;

    // A migration is in progress.
    let stderr = failure(&command("grant", uri.as_str(), "weft_2", "a password")?);
    assert!(stderr.contains("lock timeout"), "{stderr}");
    ensure!(flag(&mut other, "SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname ~ '^weft_')").await?);

    // A grant is in progress.
    let replica = rig.replica("shop", ServiceOptions::default().env("DATABASE_URL", uri.as_str()))?;
    let mut superuser = rig.database().await?;
    until("the migration waits", async || {
        let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)";
        flag(&mut superuser, waits).await.is_ok_and(|waits| waits)
    })
    .await?;
    raw_sql("CREATE ROLE weft_owner; ALTER DATABASE shop OWNER TO weft_owner").execute(&mut other).await?;
    other.unlock().await?;
    replica.await_ready().await?;
    assert_eq!(text(&mut other, OWNERS).await?, "weft_owner");
    check_success(&command("grant", uri.as_str(), "weft_2", "a password")?)
}

#[tokio::test]
async fn a_password_is_not_in_the_servers_log() -> Result<()> {
    let state = StateDir::temporary()?;
    let store = Postgres::start(&state.folder("postgres")?).await?;
    let mut superuser = PgConnectOptions::from_str(store.uri())?.connect().await?;
    for setting in [
        "log_statement = 'all'",
        "log_min_duration_statement = 0",
        "log_min_duration_sample = 0",
        "log_statement_sample_rate = 1",
        "log_transaction_sample_rate = 1",
        "log_parameter_max_length_on_error = -1",
    ] {
        let set = format!("ALTER SYSTEM SET {setting}");
        raw_sql(AssertSqlSafe(set)).execute(&mut superuser).await?;
    }
    raw_sql("SELECT pg_reload_conf()").execute(&mut superuser).await?;

    check_success(&command("grant", store.uri(), "weft_2", "hunter2")?)?;
    // The statement with the password waits for this transaction.
    for statement in ["BEGIN", "ALTER ROLE weft_2 VALID UNTIL 'infinity'"] {
        raw_sql(statement).execute(&mut superuser).await?;
    }
    let stderr = failure(&command("grant", store.uri(), "weft_2", "hunter2")?);
    assert!(stderr.contains("lock timeout"), "{stderr}");
    raw_sql("COMMIT").execute(&mut superuser).await?;
    as_user(&store, "weft_2", "hunter2").connect().await?;

    let log = fs::read_to_string(store.log_file())?;
    assert!(log.contains("ALTER ROLE weft_2 VALID") && log.contains("lock timeout"));
    let found: Vec<_> = log.lines().filter(|line| line.contains("hunter2")).collect();
    assert!(found.is_empty(), "{found:?}");
    Ok(())
}
