//! Credential rotation of a real PostgreSQL, with the command that the Job runs.

use std::process::{Command, Output};
use std::str::FromStr as _;

use anyhow::{Result, ensure};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection, query_scalar, raw_sql};
use weft_devstack::{Postgres, Service, ServiceOptions, StateDir, our_binary};

use crate::helpers::{Rig, until};

/// Characters that break wrong quoting.
const HOSTILE: &str = r#"we'ft"; DROP ROLE weft; -- \' $$ %I é"#;
const OTHER: &str = r#"\''"; SELECT 1 --"#;

pub(crate) fn command(verb: &str, uri: &str, username: &str, password: &str) -> Result<Output> {
    let mut command = Command::new(our_binary("authentication")?);
    command.args(["credentials", verb]).env_clear().env("DATABASE_URL", uri);
    Ok(command.env("CREDENTIALS_USERNAME", username).env("CREDENTIALS_PASSWORD", password).output()?)
}

pub(crate) fn check_success(output: &Output) -> Result<()> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{stderr}");
    Ok(())
}

/// The error output of a failed command.
pub(crate) fn failure(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn as_user(store: &Postgres, username: &str, password: &str) -> PgConnectOptions {
    PgConnectOptions::from_str(store.uri()).unwrap().username(username).password(password)
}

/// The form that the operator writes into the Secret.
fn uri_of(store: &Postgres, username: &str, password: &str) -> String {
    as_user(store, username, password).to_url_lossy().to_string()
}

pub(crate) async fn text(connection: &mut PgConnection, query: &'static str) -> Result<String> {
    Ok(query_scalar(query).fetch_one(connection).await?)
}

pub(crate) async fn flag(connection: &mut PgConnection, query: &'static str) -> Result<bool> {
    Ok(query_scalar(query).fetch_one(connection).await?)
}

/// Statements that a service does not need and must not be able to run.
const FORBIDDEN: [&str; 7] = [
    "CREATE ROLE stranger",
    "CREATE DATABASE elsewhere",
    "ALTER ROLE weft_2 SUPERUSER",
    "SET ROLE weft",
    "SELECT rolpassword FROM pg_authid",
    "COPY (SELECT 1) TO PROGRAM 'cat'",
    "ALTER SYSTEM SET log_connections = on",
];

/// Objects owned by a superuser, as in earlier versions: one of each kind that has an owner.
const LEGACY: &str = "CREATE TYPE mood AS ENUM ('good'); CREATE DOMAIN nickname AS text;
    CREATE TABLE people (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, number serial, mood mood, name nickname);
    INSERT INTO people (mood, name) VALUES ('good', 'Ann');
    CREATE SEQUENCE tickets; CREATE VIEW names AS SELECT name FROM people; CREATE MATERIALIZED VIEW moods AS SELECT mood FROM people;
    CREATE FUNCTION twice(x int) RETURNS int LANGUAGE sql AS 'SELECT x * 2';
    CREATE SCHEMA archive; CREATE TABLE archive.\"old people\" (id int)";

#[tokio::test]
async fn a_user_owns_its_database_and_has_no_other_rights() -> Result<()> {
    let state = StateDir::temporary()?;
    let store = Postgres::start(&state.folder("postgres")?).await?;
    let mut superuser = PgConnectOptions::from_str(store.uri())?.connect().await?;
    raw_sql("CREATE DATABASE shop").execute(&mut superuser).await?;
    let admin = PgConnectOptions::from_str(store.uri())?.database("shop");
    raw_sql(LEGACY).execute(&mut admin.connect().await?).await?;
    // Earlier versions made users members of the superuser.
    raw_sql("CREATE ROLE weft_2 LOGIN SUPERUSER CREATEROLE; GRANT weft TO weft_2; ALTER ROLE weft_2 SET role TO weft")
        .execute(&mut superuser)
        .await?;

    for _ in 0..2 {
        check_success(&command("grant", admin.to_url_lossy().as_str(), "weft_2", "a password")?)?;
    }
    let user = admin.clone().username("weft_2").password("a password");
    let mut session = user.clone().connect().await?;
    ensure!(text(&mut session, "SELECT current_user::text").await? == "weft_owner");
    let limited =
        "SELECT bool_and(NOT (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls))
        FROM pg_roles WHERE rolname IN ('weft_2', 'weft_owner')";
    ensure!(flag(&mut session, limited).await?, "the roles have superuser attributes");
    for statement in FORBIDDEN.into_iter().chain(["RESET ROLE"]).chain(FORBIDDEN) {
        let outcome = raw_sql(statement).execute(&mut session).await;
        ensure!(outcome.is_err() != (statement == "RESET ROLE"), "{statement}: {outcome:?}");
    }
    for other in ["postgres", "template1"] {
        let refused = user.clone().database(other).connect().await.map(drop);
        ensure!(refused.is_err_and(|error| error.to_string().contains("permission denied")), "{other}");
    }
    // A migration of the service.
    let migration = "ALTER TABLE people ADD COLUMN age int; ALTER TYPE mood ADD VALUE 'bad'; ALTER DOMAIN nickname SET NOT NULL;
        ALTER SEQUENCE tickets RESTART; DROP VIEW names; REFRESH MATERIALIZED VIEW moods; DROP FUNCTION twice;
        DROP TABLE archive.\"old people\"; DROP SCHEMA archive; CREATE TABLE orders (id int); CREATE SCHEMA next";
    let mut session = user.connect().await?;
    raw_sql(migration).execute(&mut session).await?;
    ensure!(
        flag(&mut session, "SELECT count(*) = 1 AND max(name) = 'Ann' FROM people").await?,
        "rows were lost"
    );
    Ok(())
}

#[tokio::test]
async fn a_grant_fails_soon_while_a_table_is_in_use() -> Result<()> {
    let state = StateDir::temporary()?;
    let store = Postgres::start(&state.folder("postgres")?).await?;
    let mut superuser = PgConnectOptions::from_str(store.uri())?.connect().await?;
    for statement in ["CREATE TABLE people (id int)", "BEGIN", "SELECT * FROM people"] {
        raw_sql(statement).execute(&mut superuser).await?;
    }
    let stderr = failure(&command("grant", store.uri(), "weft_2", "hunter2")?);
    assert!(stderr.contains("lock timeout") && !stderr.contains("hunter2"), "{stderr}");
    ensure!(flag(&mut superuser, "SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'weft_2')").await?);
    raw_sql("COMMIT").execute(&mut superuser).await?;
    check_success(&command("grant", store.uri(), "weft_2", "hunter2")?)
}

#[tokio::test]
async fn a_retired_user_leaves_its_objects_to_the_owner_role() -> Result<()> {
    let state = StateDir::temporary()?;
    let store = Postgres::start(&state.folder("postgres")?).await?;
    for password in ["a first password", OTHER, OTHER] {
        check_success(&command("grant", store.uri(), HOSTILE, password)?)?;
    }
    assert!(
        as_user(&store, HOSTILE, "a first password").connect().await.is_err(),
        "only the last password is valid"
    );
    let mut first = as_user(&store, HOSTILE, OTHER).connect().await?;
    assert_eq!(text(&mut first, "SELECT current_user::text").await?, "weft_owner");
    raw_sql("CREATE TABLE of_first (id int)").execute(&mut first).await?;

    check_success(&command("grant", store.uri(), "weft_2", "a second password")?)?;
    let mut second = as_user(&store, "weft_2", "a second password").connect().await?;
    raw_sql("ALTER TABLE of_first ADD COLUMN name text").execute(&mut second).await?;
    // An object whose owner was changed manually.
    let mut superuser = PgConnectOptions::from_str(store.uri())?.connect().await?;
    let give: String = query_scalar("SELECT format('ALTER TABLE of_first OWNER TO %I', $1::text)")
        .bind(HOSTILE)
        .fetch_one(&mut superuser)
        .await?;
    raw_sql(AssertSqlSafe(give)).execute(&mut superuser).await?;
    for _ in 0..2 {
        check_success(&command("retire", store.uri(), HOSTILE, "")?)?;
    }
    assert!(as_user(&store, HOSTILE, OTHER).connect().await.is_err());
    assert!(text(&mut first, "SELECT 'still here'").await.is_err(), "its sessions have ended");
    let roles: Vec<String> =
        query_scalar("SELECT rolname::text FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%' ORDER BY 1")
            .fetch_all(&mut second)
            .await?;
    assert_eq!(roles, ["weft", "weft_2", "weft_owner"], "the retired user was dropped");
    let owner = "SELECT tableowner::text FROM pg_tables WHERE tablename = 'of_first'";
    assert_eq!(text(&mut second, owner).await?, "weft_owner");
    Ok(())
}

#[tokio::test]
async fn errors_are_one_line_without_a_password() -> Result<()> {
    let state = StateDir::temporary()?;
    let store = Postgres::start(&state.folder("postgres")?).await?;
    for verb in ["grant", "retire"] {
        let stderr = failure(&command(verb, store.uri(), "weft", "hunter2")?);
        assert!(stderr.contains("weft is the user that DATABASE_URL names"), "{stderr}");
    }
    let wrong = uri_of(&store, "weft", "hunter2");
    let stderr = failure(&command("grant", &wrong, "weft_2", "hunter3")?);
    assert!(
        stderr.contains("refuses the credentials in DATABASE_URL") && !stderr.contains("hunter"),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    store.kill().await?;
    let stderr = failure(&command("grant", store.uri(), "weft_2", "hunter3")?);
    assert!(stderr.contains("can't be reached") && !stderr.contains("hunter"), "{stderr}");
    let unknown = Command::new(our_binary("authentication")?).args(["credentials", "steal"]).output()?;
    assert!(failure(&unknown).contains("usage: authentication"));
    Ok(())
}

/// The service changes from the superuser to its own user, and then to another one.
#[tokio::test]
async fn a_replica_with_a_new_user_uses_the_existing_tables() -> Result<()> {
    let rig = Rig::start().await?;
    rig.user("ann@example.com").await?;
    let mut replicas = Vec::new();
    for username in ["weft_2", "weft_3"] {
        check_success(&command("grant", rig.store.uri(), username, "a password")?)?;
        let uri = uri_of(&rig.store, username, "a password");
        let replica: Service = rig.replica(username, ServiceOptions::default().env("DATABASE_URL", &uri))?;
        replica.await_ready().await?;
        let request = crate::helpers::sign_in(crate::helpers::ADMIN, crate::helpers::PASSWORD);
        crate::helpers::client_of(&replica)?.sign_in(request).await?;
        replicas.push(replica);
    }
    check_success(&command("retire", rig.store.uri(), "weft_2", "")?)?;
    let ready = async |replica: &Service| reqwest::get(format!("{}/readyz", replica.admin_url())).await;
    until("the replica of the retired user is not ready", async || {
        ready(&replicas[0]).await.is_ok_and(|answer| answer.status() == 503)
    })
    .await?;
    ensure!(ready(&replicas[1]).await?.status() == 200);
    Ok(())
}
