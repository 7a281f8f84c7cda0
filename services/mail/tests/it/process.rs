use std::time::Duration;

use anyhow::Result;
use tonic::Code;

use crate::helpers::{Mail, Rig, message, to, until};
use crate::scripted::{Act, Scripted};

#[tokio::test]
async fn without_its_smtp_server_it_is_ready_says_so_and_comes_back_by_itself() -> Result<()> {
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
async fn a_mail_in_hand_is_sent_before_the_process_ends() -> Result<()> {
    let server = Scripted::start(vec![(".", Act::Hang)]).await?;
    let mail = Mail::start(to(server.address()).env("WEFT_DRAIN_TIMEOUT", "4s")).await?;
    let mut client = mail.client()?;
    let send = tokio::spawn(async move { client.send(message("s", "m")).await });
    until("the mail is under way", async || server.heard().contains(&".".to_owned())).await?;
    let ended = mail.service.stop().await?;
    assert_eq!(ended, "exit status: 0");
    // It got its answer, not a cut connection.
    let status = send.await?.unwrap_err();
    assert_eq!(status.code(), Code::Unknown, "{status}");
    Ok(())
}

#[tokio::test]
async fn a_wrong_setting_ends_the_start_with_its_name() -> Result<()> {
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
        let log = Mail::refused(nowhere().env(name, value)).await?;
        let named = if name == "MAIL_USERNAME" { "MAIL_PASSWORD" } else { name };
        assert!(log.contains(named), "{name}: {log}");
    }
    Ok(())
}

#[tokio::test]
async fn a_start_does_not_wait_for_the_smtp_server() -> Result<()> {
    let server = Scripted::start(vec![("", Act::Hang)]).await?;
    let started = tokio::time::Instant::now();
    let mail = Mail::start(to(server.address())).await?;
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    assert_eq!(mail.admin("/readyz").await?.0, 200);
    Ok(())
}
