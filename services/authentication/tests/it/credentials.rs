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
    let mut second = as_user(&store, HOSTILE, OTHER).connect().await?;
    assert_eq!(text(&mut second, "SELECT current_user::text").await?, "weft");
    raw_sql("CREATE TABLE of_second (id int)").execute(&mut second).await?;
    let mut leftover = PgConnectOptions::from_str(store.uri())?.connect().await?;

    let second_uri = uri_of(&store, HOSTILE, OTHER);
    for _ in 0..2 {
        done(&command("retire", &second_uri, "weft", "")?)?;
    }
    assert!(PgConnectOptions::from_str(store.uri())?.connect().await.is_err(), "the first may not sign in");
    assert!(text(&mut leftover, "SELECT 'still here'").await.is_err(), "what it still did has ended");
    raw_sql("ALTER TABLE of_second ADD COLUMN name text").execute(&mut second).await?;

    done(&command("grant", &second_uri, "weft_3", "a third password")?)?;
    let third_uri = uri_of(&store, "weft_3", "a third password");
    let mut third = as_user(&store, "weft_3", "a third password").connect().await?;
    raw_sql("ALTER TABLE of_second DROP COLUMN name").execute(&mut third).await?;
    // Something became that user's own by hand.
    let give: String = query_scalar("SELECT format('ALTER TABLE of_second OWNER TO %I', $1::text)")
        .bind(HOSTILE)
        .fetch_one(&mut third)
        .await?;
    raw_sql(AssertSqlSafe(give)).execute(&mut third).await?;
    for _ in 0..2 {
        done(&command("retire", &third_uri, HOSTILE, "")?)?;
    }
    assert!(as_user(&store, HOSTILE, OTHER).connect().await.is_err());
    let roles: Vec<String> =
        query_scalar("SELECT rolname::text FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%' ORDER BY 1")
            .fetch_all(&mut third)
            .await?;
    assert_eq!(roles, ["weft", "weft_3"], "all but the first superuser are gone when they are retired");
    let owner = "SELECT tableowner::text FROM pg_tables WHERE tablename = 'of_second'";
    assert_eq!(text(&mut third, owner).await?, "weft");
    Ok(())
}

#[tokio::test]
async fn what_can_t_be_done_is_said_in_one_line_without_a_password() -> Result<()> {
    let state = StateDir::temporary()?;
    let store = Postgres::start(&state.folder("postgres")?).await?;
    let said = refused(&command("retire", store.uri(), "weft", "")?);
    assert!(said.contains("weft is the user that DATABASE_URL names"), "{said}");
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

/// What the next user's replica finds was made by the first one's, and it may migrate it.
#[tokio::test]
async fn a_replica_with_the_new_user_serves_what_the_old_one_made() -> Result<()> {
    let rig = Rig::start().await?;
    rig.user("ann@example.com").await?;
    done(&command("grant", rig.store.uri(), "weft_2", "a second password")?)?;
    let uri = uri_of(&rig.store, "weft_2", "a second password");
    let second: Service = rig.replica("second", ServiceOptions::default().env("DATABASE_URL", &uri))?;
    second.await_ready().await?;
    done(&command("retire", &uri, "weft", "")?)?;
    until("the first replica has lost its store", async || {
        rig.admin("/readyz").await.is_ok_and(|(status, _)| status == 503)
    })
    .await?;
    let request = crate::helpers::sign_in(crate::helpers::ADMIN, crate::helpers::PASSWORD);
    crate::helpers::client_of(&second)?.sign_in(request).await?;
    Ok(())
}
