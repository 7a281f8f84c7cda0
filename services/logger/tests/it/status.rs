use anyhow::Result;
use serde_json::Value;

use crate::helpers::{Rig, entry, until, write};

#[tokio::test]
async fn the_admin_port_reports_status_and_metrics() -> Result<()> {
    let rig = Rig::start().await?;
    rig.client()?.write(write(entry("one"))).await?;
    let status: Value = serde_json::from_str(&rig.admin("/status").await?.1)?;
    for flag in ["reachable", "authenticated", "migrated"] {
        assert_eq!(status["mongodb"][flag], true, "{status}");
    }
    assert!(
        status["mongodb"]["version"].as_str().is_some_and(|version| version.contains("FerretDB")),
        "{status}"
    );
    let metrics = rig.admin("/metrics").await?.1;
    for line in [
        "log_entries_total{result=\"created\"} 1",
        "log_group_entries_count 1",
        "log_insert_duration_seconds_count 1",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
    Ok(())
}

#[tokio::test]
async fn is_alive_but_not_ready_without_its_store() -> Result<()> {
    let rig = Rig::without_store().await?;
    assert_eq!(rig.admin("/livez").await?.0, 200);
    until("the reason is reported", async || {
        rig.admin("/readyz").await.is_ok_and(|(code, text)| code == 503 && text.contains("can't be reached"))
    })
    .await?;
    let status: Value = serde_json::from_str(&rig.admin("/status").await?.1)?;
    assert_eq!(status["mongodb"]["reachable"], false, "{status}");
    rig.store.start().await?;
    rig.logger.await_ready().await?;
    rig.store.kill().await?;
    until("the logger is not ready", async || rig.admin("/readyz").await.is_ok_and(|(code, _)| code == 503))
        .await?;
    assert_eq!(rig.admin("/livez").await?.0, 200);
    Ok(())
}

#[tokio::test]
async fn an_invalid_setting_is_named_without_the_password() -> Result<()> {
    use weft_devstack::{Service, ServiceOptions, StateDir};
    let state = StateDir::temporary()?;
    let options = ServiceOptions::default().env("MONGODB_URI", "mongo://weft:hunter2@db");
    let logger = Service::start_unready("logger", state.path(), options)?;
    let ended = logger.await_end(std::time::Duration::from_secs(10)).await?;
    assert!(ended.contains('1'), "{ended}");
    let log = logger.log_tail();
    assert!(log.contains("MONGODB_URI") && !log.contains("hunter2"), "{log}");
    Ok(())
}
