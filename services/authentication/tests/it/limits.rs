use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;
use tonic::{Code, Status};
use weft_devstack::ServiceOptions;
use weft_proto::weft::auth::v1::{ChangePasswordRequest, SignInRequest, SignOutRequest};

use crate::helpers::{ADMIN, Client, PASSWORD, Rig, client_of, on_behalf, retry_after, sign_in_from, until};

const WRONG: &str = "some wrong password";

/// Three failures at once, then one a minute.
fn limited() -> ServiceOptions {
    ServiceOptions::default().env("AUTH_SIGN_IN_PER_MINUTE", "1")
}

/// The status codes of concurrent sign-ins, distributed over the clients.
async fn at_once(clients: &[&Client], sign_ins: impl IntoIterator<Item = SignInRequest>) -> Vec<Code> {
    let code = |reply: Result<_, Status>| reply.map_or_else(|status| status.code(), |_| Code::Ok);
    let mut calls = JoinSet::new();
    for (number, sign_in) in sign_ins.into_iter().enumerate() {
        let mut client = clients[number % clients.len()].clone();
        calls.spawn(async move { code(client.sign_in(sign_in).await) });
    }
    calls.join_all().await
}

fn count(codes: &[Code], code: Code) -> usize {
    codes.iter().filter(|one| **one == code).count()
}

/// Upper bound of the failures that the limit has allowed since `begun`.
fn allowed_since(begun: Instant) -> usize {
    3 + (begun.elapsed().as_secs() / 60) as usize
}

#[tokio::test]
async fn right_passwords_from_one_address_are_not_limited() -> Result<()> {
    let rig = Rig::with(limited()).await?;
    let replica = rig.replica("replica", limited())?;
    replica.await_ready().await?;
    let (one, two) = (rig.client()?, client_of(&replica)?);
    for _ in 0..6 {
        rig.sign_in_admin_from("10.0.0.1").await?;
    }
    // More at once than the allowance of failures: they wait for each other.
    let codes = at_once(&[&one, &two], (0..12).map(|_| sign_in_from("10.0.0.1", ADMIN, PASSWORD))).await;
    assert_eq!(count(&codes, Code::Ok), 12, "{codes:?}");
    // The whole allowance is left.
    let codes =
        at_once(&[&one, &two], (0..3).map(|n| sign_in_from("10.0.0.1", &format!("{n}@b.c"), WRONG))).await;
    assert_eq!(count(&codes, Code::Unauthenticated), 3, "{codes:?}");
    Ok(())
}

#[tokio::test]
async fn counts_failures_of_an_address_across_accounts_and_replicas() -> Result<()> {
    let options = ServiceOptions::default().env("AUTH_SIGN_IN_PER_MINUTE", "1");
    let rig = Rig::with(options.clone()).await?;
    let replica = rig.replica("replica", options)?;
    replica.await_ready().await?;
    let (mut one, mut two) = (rig.client()?, client_of(&replica)?);
    let begun = Instant::now();
    one.sign_in(sign_in_from("10.0.0.1", "nobody@example.com", PASSWORD)).await.unwrap_err();
    two.sign_in(sign_in_from("::ffff:10.0.0.1", "another@example.com", PASSWORD)).await.unwrap_err();
    one.sign_in(sign_in_from("10.0.0.1", "a.third@example.com", PASSWORD)).await.unwrap_err();
    for client in [&mut one, &mut two] {
        let refused = client.sign_in(sign_in_from("10.0.0.1", ADMIN, PASSWORD)).await.unwrap_err();
        ensure!(
            allowed_since(begun) == 3,
            "the machine is too slow for this test: more than a minute has passed"
        );
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        let wait = retry_after(&refused).context("no retry-after")?;
        assert!((1..=60).contains(&wait), "{wait}");
    }
    two.sign_in(sign_in_from("10.0.0.2", ADMIN, PASSWORD)).await?;
    rig.until_metric("auth_sign_ins_total{outcome=\"too_often\"} 1").await?;
    Ok(())
}

#[tokio::test]
async fn a_right_password_after_one_wrong_one_is_never_refused() -> Result<()> {
    let rig = Rig::with(limited()).await?;
    let mut client = rig.client()?;
    for round in 0..3 {
        let refused = client.sign_in(sign_in_from("10.0.0.1", ADMIN, WRONG)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "round {round}");
        // In the third round the allowance of the address is used up.
        rig.sign_in_admin_from("10.0.0.1").await.with_context(|| format!("round {round}"))?;
    }
    Ok(())
}

#[tokio::test]
async fn dropped_attempts_do_not_hold_up_later_ones() -> Result<()> {
    let rig = Rig::with(limited()).await?;
    let client = rig.client()?;
    let mut database = rig.database().await?;
    for number in 0..40 {
        let (mut client, address) = (client.clone(), format!("10.0.0.{number}"));
        let attempt = client.sign_in(sign_in_from(&address, ADMIN, PASSWORD));
        let _ = tokio::time::timeout(Duration::from_millis(number / 2), attempt).await;
    }
    let begun = "SELECT count(*) FROM sign_in_addresses WHERE next_at > now()";
    until("attempts have begun", async || {
        sqlx::query_scalar::<_, i64>(begun).fetch_one(&mut database).await.is_ok_and(|count| count > 5)
    })
    .await?;
    let undecided = "SELECT count(*) FROM sign_in_addresses WHERE pending > 0";
    until("every attempt is decided", async || {
        sqlx::query_scalar::<_, i64>(undecided).fetch_one(&mut database).await.is_ok_and(|count| count == 0)
    })
    .await?;
    let failures: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sign_in_failures").fetch_one(&mut database).await?;
    ensure!(failures == 0, "{failures} dropped attempts count as failures of the account");
    Ok(())
}

#[tokio::test]
async fn limits_parallel_guesses() -> Result<()> {
    let rig = Rig::with(limited()).await?;
    let replica = rig.replica("replica", limited())?;
    replica.await_ready().await?;
    let (one, two) = (rig.client()?, client_of(&replica)?);
    let begun = Instant::now();
    let codes = at_once(&[&one, &two], (0..24).map(|_| sign_in_from("10.0.0.1", ADMIN, WRONG))).await;
    let failed = count(&codes, Code::Unauthenticated);
    // One more than allowed: the attempt after a single failure.
    assert!((3..=allowed_since(begun) + 1).contains(&failed), "{codes:?}");
    assert_eq!(count(&codes, Code::ResourceExhausted), 24 - failed, "{codes:?}");

    // Many accounts: at most as many again, each the attempt after a single failure.
    let begun = Instant::now();
    let many = (0..48).map(|number| sign_in_from("10.0.0.2", &format!("{}@b.c", number % 12), WRONG));
    let codes = at_once(&[&one, &two], many).await;
    let failed = count(&codes, Code::Unauthenticated);
    assert!((3..=2 * allowed_since(begun)).contains(&failed), "{codes:?}");
    Ok(())
}

#[tokio::test]
async fn limits_wrong_current_passwords() -> Result<()> {
    let rig = Rig::with(limited()).await?;
    let admin = rig.sign_in_admin().await?;
    let change = |current: &str, new: &str| {
        let (current_password, new_password) = (current.to_owned(), new.to_owned());
        on_behalf(&admin, ChangePasswordRequest { current_password, new_password })
    };
    let mut client = rig.client()?;
    let wrong = client.change_password(change(WRONG, "the next good password")?).await.unwrap_err();
    assert_eq!(wrong.code(), Code::PermissionDenied);
    client.change_password(change(PASSWORD, "the next good password")?).await?;

    let begun = Instant::now();
    let mut calls = JoinSet::new();
    for number in 0..24 {
        let (mut client, guess) =
            (client.clone(), change(&format!("{WRONG} {number}"), "one more good password")?);
        calls.spawn(async move { client.change_password(guess).await.unwrap_err().code() });
    }
    let codes = calls.join_all().await;
    let failed = count(&codes, Code::PermissionDenied);
    assert!((1..=allowed_since(begun) + 1).contains(&failed), "{codes:?}");
    assert_eq!(count(&codes, Code::ResourceExhausted), 24 - failed, "{codes:?}");
    Ok(())
}

#[tokio::test]
async fn failures_delay_only_attempts_from_the_same_address() -> Result<()> {
    let rig = Rig::start().await?;
    let (mut client, mut database) = (rig.client()?, rig.database().await?);
    for email in [ADMIN, "nobody@example.com"] {
        let refused = client.sign_in(sign_in_from("10.0.0.1", email, WRONG)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        // Simulates many failures, because a busy machine may take longer than the first waits.
        sqlx::query("UPDATE sign_in_failures SET failures = 25, last_at = now()")
            .execute(&mut database)
            .await?;
        // The same for an unknown account.
        let slowed = client.sign_in(sign_in_from("10.0.0.1", email, PASSWORD)).await.unwrap_err();
        assert_eq!(slowed.code(), Code::ResourceExhausted, "{email}");
        assert!(retry_after(&slowed).is_some_and(|wait| (1..=10).contains(&wait)), "{slowed:?}");
    }
    client.sign_in(sign_in_from("10.0.0.2", ADMIN, PASSWORD)).await?;
    // After the wait the right password is accepted.
    until("the wait is over", async || {
        client.clone().sign_in(sign_in_from("10.0.0.1", ADMIN, PASSWORD)).await.is_ok()
    })
    .await?;
    // A success resets the failures.
    let refused = client.sign_in(sign_in_from("10.0.0.1", ADMIN, WRONG)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    Ok(())
}

#[tokio::test]
async fn the_mail_limit_does_not_prevent_signing_out() -> Result<()> {
    let rig = Rig::with(ServiceOptions::default().env("AUTH_RECIPIENT_MAILS_PER_HOUR", "2")).await?;
    let mut client = rig.client()?;
    rig.user("ada@example.com").await?;
    for _ in 0..4 {
        let ada = client.sign_in(sign_in_from("10.0.0.1", "ada@example.com", PASSWORD)).await?.into_inner();
        let ended = client.sign_out(on_behalf(&ada, SignOutRequest::default())?).await?.into_inner().ended;
        assert_eq!(ended, 1);
    }
    let mut database = rig.database().await?;
    let waiting = "SELECT count(*) FROM outbox";
    until("everything is delivered", async || {
        sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut database).await.is_ok_and(|count| count == 0)
    })
    .await?;
    assert_eq!(rig.mail.mails().len(), 2);
    let is_sign_out = |data: &str| data == "ada@example.com logged out";
    assert_eq!(rig.logger.entries().iter().filter(|(entry, _)| is_sign_out(&entry.data)).count(), 4);
    Ok(())
}

#[tokio::test]
async fn deletes_old_counts() -> Result<()> {
    let rig = Rig::start().await?;
    let mut database = rig.database().await?;
    for statement in [
        "INSERT INTO sign_in_addresses VALUES ('10.9.9.9', now() - interval '1 minute')",
        "INSERT INTO sign_in_failures VALUES ('\\x00', 7, now() - interval '2 hours')",
    ] {
        sqlx::query(statement).execute(&mut database).await?;
    }
    // A replica purges when it starts.
    let replica = rig.replica("replica", ServiceOptions::default())?;
    replica.await_ready().await?;
    let count = "SELECT (SELECT count(*) FROM sign_in_addresses) + (SELECT count(*) FROM sign_in_failures)";
    until("the rows are deleted", async || {
        sqlx::query_scalar::<_, i64>(count).fetch_one(&mut database).await.is_ok_and(|count| count == 0)
    })
    .await
}
