use anyhow::Result;
use serde_json::Value;
use weft_devstack::{Service, ServiceOptions, StateDir};

use crate::helpers::{ENCRYPTION_KEY, Rig, until};

#[tokio::test]
async fn the_admin_port_reports_store_state_and_metrics() -> Result<()> {
    let rig = Rig::start().await?;
    rig.sign_in_admin().await?;
    let status: Value = serde_json::from_str(&rig.admin("/status").await?.1)?;
    for flag in ["reachable", "authenticated", "migrated"] {
        assert_eq!(status["postgres"][flag], true, "{status}");
    }
    assert!(
        status["postgres"]["version"].as_str().is_some_and(|version| version.starts_with("15.")),
        "{status}"
    );
    rig.until_metric("auth_sign_ins_total{outcome=\"signed_in\"} 1").await?;
    rig.until_metric("auth_outbox_deliveries_total{recipient=\"logger\",result=\"delivered\"} 1").await?;
    rig.until_metric("auth_hashes_waiting 0").await
}

#[tokio::test]
async fn reports_refused_credentials_and_recovers_without_a_restart() -> Result<()> {
    let rig = Rig::start().await?;
    let wrong = rig.store.uri().replace("postgres://weft:", "postgres://weft:wrong");
    let replica = rig.replica("locked-out", ServiceOptions::default().env("DATABASE_URL", wrong.clone()))?;
    let page = async |path: &str| -> Result<String> {
        Ok(reqwest::get(format!("{}{path}", replica.admin_url())).await?.text().await?)
    };
    until("/status reports the refused credentials", async || {
        page("/status").await.is_ok_and(|text| text.contains("refuses the credentials"))
    })
    .await?;
    let status: Value = serde_json::from_str(&page("/status").await?)?;
    assert_eq!(
        (&status["postgres"]["reachable"], &status["postgres"]["authenticated"]),
        (&true.into(), &false.into())
    );
    let secret = wrong.split([':', '@']).nth(2).unwrap_or_default().to_owned();
    assert!(!page("/readyz").await?.contains(&secret));

    // Independent of the machine's speed: the longer this takes, the longer the pauses between attempts.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    let refusals =
        std::fs::read_to_string(rig.store.log_file())?.matches("password authentication failed").count();
    assert!((1..=5).contains(&refusals), "{refusals} attempts");
    let log = std::fs::read_to_string(replica.log_file())?;
    assert_eq!(log.matches("the store is not ready").count(), 1, "{log}");
    assert!(!log.contains(&secret));

    let statement = format!("ALTER ROLE weft PASSWORD '{secret}'");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut rig.database().await?).await?;
    replica.await_ready().await
}

#[tokio::test]
async fn an_invalid_setting_is_named_without_its_password() -> Result<()> {
    let state = StateDir::temporary()?;
    let options = ServiceOptions::default()
        .env("DATABASE_URL", "mysql//weft:hunter2@db")
        .env("AUTH_ENCRYPTION_KEYS", ENCRYPTION_KEY)
        .env("WEFT_MESH_ADDRESSES", "logger=127.0.0.1:1,mail=127.0.0.1:1");
    let service = Service::start_unready("authentication", state.path(), options)?;
    let ended = service.await_end(std::time::Duration::from_secs(10)).await?;
    assert!(ended.contains('1'), "{ended}");
    let log = service.log_tail();
    assert!(log.contains("DATABASE_URL") && !log.contains("hunter2"), "{log}");
    Ok(())
}
