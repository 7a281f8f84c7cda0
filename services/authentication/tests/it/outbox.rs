use anyhow::{Context as _, Result};
use tonic::Code;
use weft_proto::weft::auth::v1::SignOutRequest;

use crate::helpers::{ADMIN, PASSWORD, Rig, from, on_behalf, until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn without_logger_and_mail_people_sign_in_and_out_and_all_of_it_arrives_later_in_its_trace()
-> Result<()> {
    let rig = Rig::without_peers().await?;
    let mut client = rig.client()?;
    let signed_in = rig.sign_in_admin().await?;
    let mut sign_out = on_behalf(&signed_in, SignOutRequest::default())?;
    sign_out.metadata_mut().insert("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01").parse()?);
    // Answered although neither peer is there: what they are owed waits.
    client.sign_out(sign_out).await?;
    rig.until_metric("auth_outbox_waiting{recipient=\"mail\"} 1").await?;
    rig.until_metric("auth_outbox_waiting{recipient=\"logger\"} 2").await?;

    let mut database = rig.database().await?;
    let kept: Option<String> = sqlx::query_scalar("SELECT traceparent FROM outbox WHERE recipient = 'mail'")
        .fetch_one(&mut database)
        .await?;
    assert!(kept.as_deref().is_some_and(|kept| kept.contains(TRACE)), "the outbox has {kept:?}");

    rig.logger.arrive().await?;
    until("the logger has both", async || rig.logger.entries().len() == 2).await?;
    assert!(rig.mail.mails().is_empty());
    rig.mail.arrive().await?;
    until("the mail is sent", async || rig.mail.mails().len() == 1).await?;
    let (_, trace) = rig.mail.mails().remove(0);
    assert!(trace.contains(TRACE), "the mail's trace is {trace}");
    let entries = rig.logger.entries();
    let (_, trace) =
        entries.iter().find(|(entry, _)| entry.data.contains("logged out")).context("no entry")?;
    assert!(trace.contains(TRACE), "the entry's trace is {trace}");
    rig.until_metric("auth_outbox_waiting{recipient=\"mail\"} 0").await
}

#[tokio::test]
async fn what_was_answered_arrives_though_the_process_is_killed_before_it_is_delivered() -> Result<()> {
    let rig = Rig::without_peers().await?;
    let mut client = rig.client()?;
    for n in 0..10 {
        let signed_in = rig.sign_in_admin_from(&format!("10.0.0.{n}")).await?;
        client.sign_out(on_behalf(&signed_in, SignOutRequest::default())?).await?;
    }
    rig.authentication.kill().await?;
    rig.logger.arrive().await?;
    rig.mail.arrive().await?;
    rig.authentication.start().await?;
    until("every mail is sent", async || rig.mail.mails().len() == 10).await?;
    until("every entry is written", async || rig.logger.entries().len() == 20).await
}

#[tokio::test]
async fn what_can_never_arrive_is_kept_and_counted_and_holds_up_nothing() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let (one, two) = (rig.sign_in_admin().await?, rig.sign_in_admin().await?);
    rig.mail.answer(Some(Code::FailedPrecondition));
    client.sign_out(on_behalf(&one, SignOutRequest::default())?).await?;
    rig.until_metric("auth_outbox_failed{recipient=\"mail\"} 1").await?;
    rig.until_metric("auth_outbox_deliveries_total{recipient=\"mail\",result=\"failed\"} 1").await?;
    rig.mail.answer(None);
    client.sign_out(on_behalf(&two, SignOutRequest::default())?).await?;
    until("the next mail is sent", async || rig.mail.mails().len() == 1).await?;
    let mut database = rig.database().await?;
    let reason: String = sqlx::query_scalar("SELECT reason FROM outbox WHERE failed_at IS NOT NULL")
        .fetch_one(&mut database)
        .await?;
    assert_eq!(reason, "FailedPrecondition: as the test wants it");
    Ok(())
}

#[tokio::test]
async fn mails_follow_their_sign_outs_while_the_logger_refuses_its_records() -> Result<()> {
    const SIGN_OUTS: usize = 20;
    let rig = Rig::start().await?;
    // As good as away: every entry is refused for now.
    rig.logger.answer(Some(Code::Unavailable));
    let mut client = rig.client()?;
    for n in 0..SIGN_OUTS {
        let signed_in = client.sign_in(from(&format!("10.0.0.{n}"), ADMIN, PASSWORD)).await?.into_inner();
        client.sign_out(on_behalf(&signed_in, SignOutRequest::default())?).await?;
        until("the mail is sent", async || rig.mail.mails().len() > n).await?;
    }
    assert!(rig.logger.entries().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_replica_that_ends_delivers_what_it_has_written() -> Result<()> {
    let rig = Rig::start().await?;
    let signed_in = rig.sign_in_admin().await?;
    rig.client()?.sign_out(on_behalf(&signed_in, SignOutRequest::default())?).await?;
    assert!(rig.authentication.stop().await?.contains("exit status: 0"));
    assert_eq!((rig.logger.entries().len(), rig.mail.mails().len()), (2, 1));
    Ok(())
}
