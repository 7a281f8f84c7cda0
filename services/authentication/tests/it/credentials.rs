//! New credentials of a real PostgreSQL, by the very command that a Job runs.

use std::process::{Command, Output};
use std::str::FromStr as _;

use anyhow::{Result, ensure};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgConnection, query_scalar, raw_sql};
use weft_devstack::{Postgres, Service, ServiceOptions, StateDir, our_binary};

use crate::helpers::{Rig, until};

/// Whatever quoting could trip over.
const HOSTILE: &str = r#"we'ft"; DROP ROLE weft; -- \' $$ %I é"#;
const OTHER: &str = r#"\''"; SELECT 1 --"#;

fn command(verb: &str, uri: &str, username: &str, password: &str) -> Result<Output> {
    let mut command = Command::new(our_binary("authentication")?);
    command.args(["credentials", verb]).env_clear().env("DATABASE_URL", uri);
    Ok(command.env("CREDENTIALS_USERNAME", username).env("CREDENTIALS_PASSWORD", password).output()?)
}

fn done(output: &Output) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    Ok(())
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn as_user(store: &Postgres, username: &str, password: &str) -> PgConnectOptions {
    PgConnectOptions::from_str(store.uri()).unwrap().username(username).password(password)
}

/// As the operator writes it into the Secret.
fn uri_of(store: &Postgres, username: &str, password: &str) -> String {
    as_user(store, username, password).to_url_lossy().to_string()
}

async fn text(connection: &mut PgConnection, query: &'static str) -> Result<String> {
    Ok(query_scalar(query).fetch_one(connection).await?)
}

async fn flag(connection: &mut PgConnection, query: &'static str) -> Result<bool> {
    Ok(query_scalar(query).fetch_one(connection).await?)
}

/// What a service has no need of: each is refused.
const BEYOND: [&str; 7] = [
    "CREATE ROLE stranger",
    "CREATE DATABASE elsewhere",
    "ALTER ROLE weft_2 SUPERUSER",
    "SET ROLE weft",
    "SELECT rolpassword FROM pg_authid",
    "COPY (SELECT 1) TO PROGRAM 'cat'",
    "ALTER SYSTEM SET log_connections = on",
];

/// Made by a superuser, as an earlier version did: one of each kind that can have an owner of its own.
const LEGACY: &str = "CREATE TYPE mood AS ENUM ('good'); CREATE DOMAIN nickname AS text;
    CREATE TABLE people (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, number serial, mood mood, name nickname);
    INSERT INTO people (mood, name) VALUES ('good', 'Ann');
    CREATE SEQUENCE tickets; CREATE VIEW names AS SELECT name FROM people; CREATE MATERIALIZED VIEW moods AS SELECT mood FROM people;
    CREATE FUNCTION twice(x int) RETURNS int LANGUAGE sql AS 'SELECT x * 2';
    CREATE SCHEMA archive; CREATE TABLE archive.\"old people\" (id int)";

#[tokio::test]
async fn a_user_owns_its_database_and_can_do_nothing_else() -> Result<()> {
    let state = StateDir::temporary()?;
    let store = Postgres::start(&state.folder("postgres")?).await?;
    let mut superuser = PgConnectOptions::from_str(store.uri())?.connect().await?;
    raw_sql("CREATE DATABASE shop").execute(&mut superuser).await?;
    let admin = PgConnectOptions::from_str(store.uri())?.database("shop");
    raw_sql(LEGACY).execute(&mut admin.connect().await?).await?;
    // An earlier version made its users members of the superuser.
    raw_sql("CREATE ROLE weft_2 LOGIN SUPERUSER CREATEROLE; GRANT weft TO weft_2; ALTER ROLE weft_2 SET role TO weft")
        .execute(&mut superuser)
        .await?;

    for _ in 0..2 {
        done(&command("grant", admin.to_url_lossy().as_str(), "weft_2", "a password")?)?;
    }
    let user = admin.clone().username("weft_2").password("a password");
    let mut session = user.clone().connect().await?;
    ensure!(text(&mut session, "SELECT current_user::text").await? == "weft_owner");
    let limited =
        "SELECT bool_and(NOT (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls))
        FROM pg_roles WHERE rolname IN ('weft_2', 'weft_owner')";
    ensure!(flag(&mut session, limited).await?, "more than a service needs");
    for statement in BEYOND.into_iter().chain(["RESET ROLE"]).chain(BEYOND) {
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
        "nothing is lost"
    );
    Ok(())
}

#[tokio::test]
async fn a_table_in_use_delays_the_grant_and_is_not_locked_for_long() -> Result<()> {
    let state = StateDir::temporary()?;
    let store = Postgres::start(&state.folder("postgres")?).await?;
    let mut superuser = PgConnectOptions::from_str(store.uri())?.connect().await?;
    for statement in ["CREATE TABLE people (id int)", "BEGIN", "SELECT * FROM people"] {
        raw_sql(statement).execute(&mut superuser).await?;
    }
    let said = refused(&command("grant", store.uri(), "weft_2", "hunter2")?);
    assert!(said.contains("lock timeout") && !said.contains("hunter2"), "{said}");
    ensure!(flag(&mut superuser, "SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'weft_2')").await?);
    raw_sql("COMMIT").execute(&mut superuser).await?;
    done(&command("grant", store.uri(), "weft_2", "hunter2")?)
}

#[tokio::test]
async fn users_follow_one_another_and_what_they_make_belongs_to_one_role() -> Result<()> {
    let state = StateDir::temporary()?;
    let store = Postgres::start(&state.folder("postgres")?).await?;
    for password in ["a first password", OTHER, OTHER] {
        done(&command("grant", store.uri(), HOSTILE, password)?)?;
    }
    assert!(
        as_user(&store, HOSTILE, "a first password").connect().await.is_err(),
        "it has the last password"
    );
    let mut first = as_user(&store, HOSTILE, OTHER).connect().await?;
    assert_eq!(text(&mut first, "SELECT current_user::text").await?, "weft_owner");
    raw_sql("CREATE TABLE of_first (id int)").execute(&mut first).await?;

    done(&command("grant", store.uri(), "weft_2", "a second password")?)?;
    let mut second = as_user(&store, "weft_2", "a second password").connect().await?;
    raw_sql("ALTER TABLE of_first ADD COLUMN name text").execute(&mut second).await?;
    // Something became that user's own by hand.
    let mut superuser = PgConnectOptions::from_str(store.uri())?.connect().await?;
    let give: String = query_scalar("SELECT format('ALTER TABLE of_first OWNER TO %I', $1::text)")
        .bind(HOSTILE)
        .fetch_one(&mut superuser)
        .await?;
    raw_sql(AssertSqlSafe(give)).execute(&mut superuser).await?;
    for _ in 0..2 {
        done(&command("retire", store.uri(), HOSTILE, "")?)?;
    }
    assert!(as_user(&store, HOSTILE, OTHER).connect().await.is_err());
    assert!(text(&mut first, "SELECT 'still here'").await.is_err(), "what it still did has ended");
    let roles: Vec<String> =
        query_scalar("SELECT rolname::text FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%' ORDER BY 1")
            .fetch_all(&mut second)
            .await?;
    assert_eq!(roles, ["weft", "weft_2", "weft_owner"], "a retired user is gone");
    let owner = "SELECT tableowner::text FROM pg_tables WHERE tablename = 'of_first'";
    assert_eq!(text(&mut second, owner).await?, "weft_owner");
    Ok(())
}

#[tokio::test]
async fn what_can_t_be_done_is_said_in_one_line_without_a_password() -> Result<()> {
    let state = StateDir::temporary()?;
    let store = Postgres::start(&state.folder("postgres")?).await?;
    for verb in ["grant", "retire"] {
        let said = refused(&command(verb, store.uri(), "weft", "hunter2")?);
        assert!(said.contains("weft is the user that DATABASE_URL names"), "{said}");
    }
    let wrong = uri_of(&store, "weft", "hunter2");
    let said = refused(&command("grant", &wrong, "weft_2", "hunter3")?);
    assert!(said.contains("refuses the credentials in DATABASE_URL") && !said.contains("hunter"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    store.kill().await?;
    let said = refused(&command("grant", store.uri(), "weft_2", "hunter3")?);
    assert!(said.contains("can't be reached") && !said.contains("hunter"), "{said}");
    let unknown = Command::new(our_binary("authentication")?).args(["credentials", "steal"]).output()?;
    assert!(refused(&unknown).contains("usage: authentication"));
    Ok(())
}

/// A service that was the superuser becomes a user of its own, and then another one.
#[tokio::test]
async fn a_replica_with_the_new_user_serves_what_the_old_one_made() -> Result<()> {
    let rig = Rig::start().await?;
    rig.user("ann@example.com").await?;
    let mut replicas = Vec::new();
    for username in ["weft_2", "weft_3"] {
        done(&command("grant", rig.store.uri(), username, "a password")?)?;
        let uri = uri_of(&rig.store, username, "a password");
        let replica: Service = rig.replica(username, ServiceOptions::default().env("DATABASE_URL", &uri))?;
        replica.await_ready().await?;
        let request = crate::helpers::sign_in(crate::helpers::ADMIN, crate::helpers::PASSWORD);
        crate::helpers::client_of(&replica)?.sign_in(request).await?;
        replicas.push(replica);
    }
    done(&command("retire", rig.store.uri(), "weft_2", "")?)?;
    let ready = async |replica: &Service| reqwest::get(format!("{}/readyz", replica.admin_url())).await;
    until("the replica of the retired user has lost its store", async || {
        ready(&replicas[0]).await.is_ok_and(|answer| answer.status() == 503)
    })
    .await?;
    ensure!(ready(&replicas[1]).await?.status() == 200);
    Ok(())
}
