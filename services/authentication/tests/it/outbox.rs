use anyhow::{Context as _, Result};
use tonic::Code;
use weft_proto::weft::auth::v1::SignOutRequest;

use crate::helpers::{ADMIN, PASSWORD, Rig, on_behalf, sign_in_from, until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[tokio::test]
async fn delivers_letters_with_their_trace_once_logger_and_mail_are_available() -> Result<()> {
    let rig = Rig::without_peers().await?;
    let mut client = rig.client()?;
    let signed_in = rig.sign_in_admin().await?;
    let mut sign_out = on_behalf(&signed_in, SignOutRequest::default())?;
    sign_out.metadata_mut().insert("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01").parse()?);
    // Succeeds although neither peer listens; the letters wait.
    client.sign_out(sign_out).await?;
    rig.until_metric("auth_outbox_waiting{recipient=\"mail\"} 1").await?;
    rig.until_metric("auth_outbox_waiting{recipient=\"logger\"} 2").await?;

    let mut database = rig.database().await?;
    let traceparent: Option<String> =
        sqlx::query_scalar("SELECT traceparent FROM outbox WHERE recipient = 'mail'")
            .fetch_one(&mut database)
            .await?;
    assert!(
        traceparent.as_deref().is_some_and(|parent| parent.contains(TRACE)),
        "the outbox has {traceparent:?}"
    );

    rig.logger.listen().await?;
    until("the logger has both", async || rig.logger.entries().len() == 2).await?;
    assert!(rig.mail.mails().is_empty());
    rig.mail.listen().await?;
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
async fn delivers_letters_after_a_kill() -> Result<()> {
    let rig = Rig::without_peers().await?;
    let mut client = rig.client()?;
    for n in 0..10 {
        let signed_in = rig.sign_in_admin_from(&format!("10.0.0.{n}")).await?;
        client.sign_out(on_behalf(&signed_in, SignOutRequest::default())?).await?;
    }
    rig.authentication.kill().await?;
    rig.logger.listen().await?;
    rig.mail.listen().await?;
    rig.authentication.start().await?;
    until("every mail is sent", async || rig.mail.mails().len() == 10).await?;
    until("every entry is written", async || rig.logger.entries().len() == 20).await
}

#[tokio::test]
async fn keeps_failed_letters_and_continues_with_others() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let (one, two) = (rig.sign_in_admin().await?, rig.sign_in_admin().await?);
    rig.mail.fail_with(Some(Code::FailedPrecondition));
    client.sign_out(on_behalf(&one, SignOutRequest::default())?).await?;
    rig.until_metric("auth_outbox_failed{recipient=\"mail\"} 1").await?;
    rig.until_metric("auth_outbox_deliveries_total{recipient=\"mail\",result=\"failed\"} 1").await?;
    rig.mail.fail_with(None);
    client.sign_out(on_behalf(&two, SignOutRequest::default())?).await?;
    until("the next mail is sent", async || rig.mail.mails().len() == 1).await?;
    let mut database = rig.database().await?;
    let reason: String = sqlx::query_scalar("SELECT reason FROM outbox WHERE failed_at IS NOT NULL")
        .fetch_one(&mut database)
        .await?;
    assert_eq!(reason, "FailedPrecondition: set by the test");
    Ok(())
}

#[tokio::test]
async fn sends_mails_while_the_logger_is_unavailable() -> Result<()> {
    const SIGN_OUTS: usize = 20;
    let rig = Rig::start().await?;
    rig.logger.fail_with(Some(Code::Unavailable));
    let mut client = rig.client()?;
    for n in 0..SIGN_OUTS {
        let signed_in =
            client.sign_in(sign_in_from(&format!("10.0.0.{n}"), ADMIN, PASSWORD)).await?.into_inner();
        client.sign_out(on_behalf(&signed_in, SignOutRequest::default())?).await?;
        until("the mail is sent", async || rig.mail.mails().len() > n).await?;
    }
    assert!(rig.logger.entries().is_empty());
    Ok(())
}

#[tokio::test]
async fn delivers_its_letters_before_shutdown() -> Result<()> {
    let rig = Rig::start().await?;
    let signed_in = rig.sign_in_admin().await?;
    rig.client()?.sign_out(on_behalf(&signed_in, SignOutRequest::default())?).await?;
    assert!(rig.authentication.stop().await?.contains("exit status: 0"));
    assert_eq!((rig.logger.entries().len(), rig.mail.mails().len()), (2, 1));
    Ok(())
}

#[tokio::test]
async fn retries_a_mail_of_unknown_outcome_after_ten_minutes_and_then_gives_up() -> Result<()> {
    let rig = Rig::start().await?;
    let signed_in = rig.sign_in_admin().await?;
    rig.mail.fail_with(Some(Code::Unknown));
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
    assert_eq!(reason, "outcome unknown: Unknown: set by the test");
    Ok(())
}

#[tokio::test]
async fn gives_up_a_letter_after_three_days() -> Result<()> {
    let rig = Rig::start().await?;
    rig.logger.fail_with(Some(Code::Unavailable));
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
    assert_eq!(reason, "gave up after 73 h; last error: Unavailable: set by the test");
    Ok(())
}

#[tokio::test]
async fn renews_the_lease_of_a_slow_mail() -> Result<()> {
    let rig = Rig::start().await?;
    let signed_in = rig.sign_in_admin().await?;
    rig.mail.hold(true);
    rig.client()?.sign_out(on_behalf(&signed_in, SignOutRequest::default())?).await?;
    let mut database = rig.database().await?;
    // The first lease is 15 s long.
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

/// The state after a long outage of the logger.
#[tokio::test]
async fn stays_ready_with_many_letters_and_counts_up_to_a_bound() -> Result<()> {
    const LETTERS: i64 = 200_000;
    const COUNTED: u64 = 10_000;
    let rig = Rig::without_peers().await?;
    let mut database = rig.database().await?;
    // Due later, so that no relay leases them. Without statistics, as right after a burst.
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

/// Checks the plan and not the time, so that a busy machine does not matter.
#[tokio::test]
async fn a_count_reads_only_the_index_entries_that_it_counts() -> Result<()> {
    const ROWS: i64 = 30_000;
    let rig = Rig::without_peers().await?;
    let mut database = rig.database().await?;
    let fill = "INSERT INTO outbox (id, recipient, payload, created_at, due_at, failed_at) \
                SELECT gen_random_uuid(), 'logger', '{}', now(), now() + interval '1 hour', \
                  CASE WHEN n % 2 = 0 THEN now() END FROM generate_series(1, $1) AS n";
    sqlx::query(fill).bind(ROWS).execute(&mut database).await?;
    let cached = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.sqlx"))?;
    let queries = cached.map(|file| {
        let cached: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file?.path())?)?;
        Ok(cached["query"].as_str().unwrap_or_default().to_owned())
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
