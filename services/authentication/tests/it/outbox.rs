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
    assert_eq!(reason, "gave up after 73 h; last error: Unavailable: as the test wants it");
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

/// As after a week in which the logger was away.
#[tokio::test]
async fn many_letters_are_counted_within_bounds_and_leave_the_replica_ready() -> Result<()> {
    const LETTERS: i64 = 200_000;
    const COUNTED: u64 = 10_000;
    let rig = Rig::without_peers().await?;
    let mut database = rig.database().await?;
    // Due later, so that no relay takes them. Without statistics, as right after a burst.
    sqlx::query("ALTER TABLE outbox SET (autovacuum_enabled = false)").execute(&mut database).await?;
    let fill = "INSERT INTO outbox (id, recipient, payload, created_at, due_at, failed_at) \
                SELECT gen_random_uuid(), 'logger', '{}', now() - interval '1 hour' + n * interval '1 ms', \
                  now() + interval '1 hour', CASE WHEN n % 2 = 0 THEN now() END \
                FROM generate_series(1, $1) AS n";
    sqlx::query(fill).bind(LETTERS).execute(&mut database).await?;
    rig.until_metric(&format!("auth_outbox_waiting{{recipient=\"logger\"}} {COUNTED}\n")).await?;
    rig.until_metric(&format!("auth_outbox_failed{{recipient=\"logger\"}} {COUNTED}\n")).await?;
    rig.until_metric("auth_outbox_waiting{recipient=\"mail\"} 0").await?;
    let (_, metrics) = rig.admin("/metrics").await?;
    let age = "auth_outbox_oldest_seconds{recipient=\"logger\"} ";
    let age = metrics.lines().find_map(|line| line.strip_prefix(age)).context("no age")?;
    assert!(age.parse::<u64>()? > 3_000, "{age}");
    assert_eq!(rig.admin("/readyz").await?.0, 200);
    Ok(())
}

/// The plan, not the time: it must not depend on how busy the machine is.
#[tokio::test]
async fn a_count_reads_no_more_entries_of_an_index_than_it_counts() -> Result<()> {
    const ROWS: i64 = 30_000;
    let rig = Rig::without_peers().await?;
    let mut database = rig.database().await?;
    let fill = "INSERT INTO outbox (id, recipient, payload, created_at, due_at, failed_at) \
                SELECT gen_random_uuid(), 'logger', '{}', now(), now() + interval '1 hour', \
                  CASE WHEN n % 2 = 0 THEN now() END FROM generate_series(1, $1) AS n";
    sqlx::query(fill).bind(ROWS).execute(&mut database).await?;
    let noted = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.sqlx"))?;
    let queries = noted.map(|file| {
        let noted: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file?.path())?)?;
        Ok(noted["query"].as_str().unwrap_or_default().to_owned())
    });
    let queries = queries.collect::<Result<Vec<String>>>()?;
    let find =
        |part: &str| queries.iter().find(|query| query.contains(part)).cloned().context("no such query");
    let (in_order, count) = (find("enable_sort")?, find("AS oldest")?);
    let count = count.replace("$1", "'logger'").replace("$2", "10000");
    let mut transaction = sqlx::Connection::begin(&mut database).await?;
    sqlx::query(sqlx::AssertSqlSafe(in_order)).execute(&mut *transaction).await?;
    let explain = sqlx::AssertSqlSafe(format!("EXPLAIN (ANALYZE, TIMING OFF) {count}"));
    let plan: Vec<String> = sqlx::query_scalar(explain).fetch_all(&mut *transaction).await?;
    let read = plan.iter().filter_map(|line| line.split_once("(actual rows=")?.1.split_once(' '));
    let read = read.map(|(rows, _)| Ok(rows.parse::<u64>()?)).collect::<Result<Vec<u64>>>()?;
    assert!(read.contains(&10_000) && read.iter().all(|rows| *rows <= 10_000), "{}", plan.join("\n"));
    Ok(())
}
