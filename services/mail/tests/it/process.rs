use std::time::Duration;

use anyhow::Result;
use tonic::Code;

use crate::helpers::{Mail, Rig, message, to, until};
use crate::scripted::{Act, Scripted};

#[tokio::test]
async fn is_ready_without_the_smtp_server_and_recovers() -> Result<()> {
    let rig = Rig::start().await?;
    rig.mail.until_smtp(true, true).await?;
    rig.maildev.kill().await?;
    let status = rig.mail.client()?.send(message("s", "m")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert!(status.message().contains("can't be reached"), "{status}");
    rig.mail.until_smtp(false, false).await?;
    assert_eq!((rig.mail.admin("/readyz").await?.0, rig.mail.admin("/livez").await?.0), (200, 200));
    rig.maildev.start().await?;
    rig.mail.until_smtp(true, true).await?;
    rig.mail.client()?.send(message("s", "m")).await?;
    assert_eq!(rig.caught().await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn answers_a_call_in_flight_before_the_process_ends() -> Result<()> {
    let server = Scripted::start(vec![(".", Act::Hang)]).await?;
    let mail = Mail::start(to(server.address()).env("WEFT_DRAIN_TIMEOUT", "4s")).await?;
    let mut client = mail.client()?;
    let send = tokio::spawn(async move { client.send(message("s", "m")).await });
    until("the mail is in flight", async || server.heard().contains(&".".to_owned())).await?;
    let ended = mail.service.stop().await?;
    assert_eq!(ended, "exit status: 0");
    // A status, not a closed connection.
    let status = send.await?.unwrap_err();
    assert_eq!(status.code(), Code::Unknown, "{status}");
    Ok(())
}

#[tokio::test]
async fn an_invalid_setting_fails_the_start_and_is_named() -> Result<()> {
    let nowhere = || to("127.0.0.1:9".parse().unwrap());
    for (name, value) in [
        ("MAIL_HOST", ""),
        ("MAIL_ENCRYPTION", "perhaps"),
        ("MAIL_PORT", "x"),
        ("FROM_ADDRESS", "a@example.com\r\nBcc: eve@example.com"),
        ("FROM_NAME", "Weft\nBcc: eve@example.com"),
        ("MAIL_USERNAME", "weft"),
        ("MAIL_TEMPLATES_DIR", "/nowhere/at/all"),
    ] {
        let log = Mail::failed_start(nowhere().env(name, value)).await?;
        let named = if name == "MAIL_USERNAME" { "MAIL_PASSWORD" } else { name };
        assert!(log.contains(named), "{name}: {log}");
    }
    Ok(())
}

#[tokio::test]
async fn starts_without_waiting_for_the_smtp_server() -> Result<()> {
    let server = Scripted::start(vec![("", Act::Hang)]).await?;
    let started = tokio::time::Instant::now();
    let mail = Mail::start(to(server.address())).await?;
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    assert_eq!(mail.admin("/readyz").await?.0, 200);
    Ok(())
}
