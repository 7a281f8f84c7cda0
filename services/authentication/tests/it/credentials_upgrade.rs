//! Credential rotation while the service still connects as the superuser, as in earlier versions.

use std::str::FromStr as _;

use anyhow::Result;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, raw_sql};

use crate::credentials::{check_success, command, text};
use crate::helpers::Rig;

/// What an earlier version's rotation left: a member of the first superuser, which can no longer log in.
const ROTATED: &str = "CREATE ROLE weft_1 LOGIN PASSWORD 'a password'; GRANT weft TO weft_1; ALTER ROLE weft_1 SET role TO weft;
    ALTER ROLE weft NOLOGIN PASSWORD NULL";

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
    Ok(())
}
