use anyhow::Result;
use weft_devstack::ServiceOptions;
use weft_proto::weft::auth::v1::{GetSigningKeysRequest, RefreshRequest};

use crate::helpers::{Rig, client_of, refresh_token};

fn migrations() -> Result<i64> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
    Ok(i64::try_from(std::fs::read_dir(folder)?.count())?)
}

#[tokio::test]
async fn replicas_that_start_together_create_one_key_and_one_first_user() -> Result<()> {
    let rig = Rig::without_store().await?;
    let replicas =
        [rig.replica("second", ServiceOptions::default())?, rig.replica("third", ServiceOptions::default())?];
    rig.store.start().await?;
    rig.authentication.await_ready().await?;
    for replica in &replicas {
        replica.await_ready().await?;
    }
    let mut database = rig.database().await?;
    for (table, rows) in [("users", 1), ("signing_keys", 1), ("_sqlx_migrations", migrations()?)] {
        let count =
            sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}")))
                .fetch_one(&mut database)
                .await?;
        assert_eq!(count, rows, "{table}");
    }
    // Another replica accepts the session.
    let mut token = refresh_token(&rig.sign_in_admin().await?);
    let mut keys = Vec::new();
    for replica in &replicas {
        let mut client = client_of(replica)?;
        let reply = client.refresh(RefreshRequest { refresh_token: token }).await?.into_inner();
        token = reply.tokens.map(|tokens| tokens.refresh_token).unwrap_or_default();
        keys.push(client.get_signing_keys(GetSigningKeysRequest {}).await?.into_inner().jwks);
    }
    keys.dedup();
    assert_eq!(keys.len(), 1);
    Ok(())
}
