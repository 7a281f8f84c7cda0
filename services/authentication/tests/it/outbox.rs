use std::time::{Duration, Instant};

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
    let begun = Instant::now();
    client.sign_out(sign_out).await?;
    assert!(begun.elapsed() < Duration::from_secs(1), "it waited for a peer: {:?}", begun.elapsed());
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
async fn a_mail_follows_its_sign_out_far_within_two_seconds_while_the_logger_hangs() -> Result<()> {
    const SIGN_OUTS: usize = 40;
    let rig = Rig::start().await?;
    // As good as away: every entry is refused for now.
    rig.logger.answer(Some(Code::Unavailable));
    let mut client = rig.client()?;
    let mut took = Vec::new();
    for n in 0..SIGN_OUTS {
        let signed_in = client.sign_in(from(&format!("10.0.0.{n}"), ADMIN, PASSWORD)).await?.into_inner();
        client.sign_out(on_behalf(&signed_in, SignOutRequest::default())?).await?;
        let begun = Instant::now();
        until("the mail is sent", async || rig.mail.mails().len() > n).await?;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    assert!(took[SIGN_OUTS - 1] < Duration::from_secs(1), "the slowest took {:?}", took[SIGN_OUTS - 1]);
    assert!(took[SIGN_OUTS / 2] < Duration::from_millis(200), "the median is {:?}", took[SIGN_OUTS / 2]);
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

#[tokio::test]
async fn a_mail_that_may_have_been_sent_goes_again_after_ten_minutes_and_not_without_end() -> Result<()> {
    let rig = Rig::start().await?;
    let signed_in = rig.sign_in_admin().await?;
    rig.mail.answer(Some(Code::Unknown));
    rig.client()?.sign_out(on_behalf(&signed_in, SignOutRequest::default())?).await?;
    rig.until_metric("auth_outbox_deliveries_total{recipient=\"mail\",result=\"unknown\"} 1").await?;
    let mut database = rig.database().await?;
    until("its next attempt is in ten minutes", async || {
        let row: (i32, f64) = sqlx::query_as(
            "SELECT unknowns, extract(epoch FROM due_at - created_at)::float8 FROM outbox WHERE recipient = 'mail'",
        )
        .fetch_one(&mut database)
        .await
        .unwrap();
        row.0 == 1 && (600.0..660.0).contains(&row.1)
    })
    .await?;

    sqlx::query("UPDATE outbox SET unknowns = 3, due_at = created_at WHERE recipient = 'mail'")
        .execute(&mut database)
        .await?;
    rig.until_metric("auth_outbox_failed{recipient=\"mail\"} 1").await?;
    let reason: String = sqlx::query_scalar("SELECT reason FROM outbox WHERE failed_at IS NOT NULL")
        .fetch_one(&mut database)
        .await?;
    assert_eq!(reason, "outcome unknown: Unknown: as the test wants it");
    Ok(())
}

#[tokio::test]
async fn a_letter_that_nobody_takes_fails_after_three_days() -> Result<()> {
    let rig = Rig::start().await?;
    rig.logger.answer(Some(Code::Unavailable));
    rig.sign_in_admin().await?;
    rig.until_metric("auth_outbox_waiting{recipient=\"logger\"} 1").await?;
    let mut database = rig.database().await?;
    sqlx::query("UPDATE outbox SET created_at = created_at - interval '73 hours', due_at = now()")
        .execute(&mut database)
        .await?;
    rig.until_metric("auth_outbox_failed{recipient=\"logger\"} 1").await?;
    let reason: String = sqlx::query_scalar("SELECT reason FROM outbox WHERE failed_at IS NOT NULL")
        .fetch_one(&mut database)
        .await?;
    assert_eq!(reason, "gave up after 73 h, at last: Unavailable: as the test wants it");
    Ok(())
}

#[tokio::test]
async fn a_mail_that_takes_longer_than_its_lease_is_delivered_by_one_replica() -> Result<()> {
    let rig = Rig::start().await?;
    let signed_in = rig.sign_in_admin().await?;
    rig.mail.hold(true);
    rig.client()?.sign_out(on_behalf(&signed_in, SignOutRequest::default())?).await?;
    let mut database = rig.database().await?;
    // The first lease has 15 s.
    until("the lease is extended", async || {
        let held: Option<f64> = sqlx::query_scalar(
            "SELECT extract(epoch FROM leased_until - created_at)::float8 FROM outbox WHERE recipient = 'mail'",
        )
        .fetch_one(&mut database)
        .await
        .unwrap();
        held.is_some_and(|held| held > 17.0)
    })
    .await?;
    rig.mail.hold(false);
    rig.until_metric("auth_outbox_waiting{recipient=\"mail\"} 0").await?;
    assert_eq!(rig.mail.copies(), 1);
    Ok(())
}
