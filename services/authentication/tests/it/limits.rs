use anyhow::Result;
use tonic::Code;
use weft_devstack::ServiceOptions;

use crate::helpers::{ADMIN, PASSWORD, Rig, client_of, from, retry_after, until};

#[tokio::test]
async fn an_address_may_try_three_times_at_once_and_then_every_twenty_seconds_with_all_replicas() -> Result<()>
{
    let options = ServiceOptions::default().env("AUTH_SIGN_IN_PER_MINUTE", "3");
    let rig = Rig::with(options.clone()).await?;
    let replica = rig.replica("replica", options)?;
    replica.await_ready().await?;
    let (mut one, mut two) = (rig.client()?, client_of(&replica)?);
    // Whatever name is tried, right or wrong.
    one.sign_in(from("10.0.0.1", ADMIN, PASSWORD)).await?;
    two.sign_in(from("::ffff:10.0.0.1", ADMIN, PASSWORD)).await?;
    let refused = one.sign_in(from("10.0.0.1", "nobody@example.com", PASSWORD)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    for client in [&mut one, &mut two] {
        let refused = client.sign_in(from("10.0.0.1", ADMIN, PASSWORD)).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        let wait = retry_after(&refused).unwrap();
        assert!((1..=20).contains(&wait), "{wait}");
    }
    two.sign_in(from("10.0.0.2", ADMIN, PASSWORD)).await?;
    rig.until_metric("auth_sign_ins_total{outcome=\"too_often\"} 1").await?;
    Ok(())
}

#[tokio::test]
async fn a_failure_slows_the_next_try_from_there_and_never_the_owner_elsewhere() -> Result<()> {
    let rig = Rig::start().await?;
    let (mut client, mut database) = (rig.client()?, rig.database().await?);
    for email in [ADMIN, "nobody@example.com"] {
        let refused = client.sign_in(from("10.0.0.1", email, "some wrong password")).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        // As after many failures: a busy machine may take longer than the one second after the first.
        sqlx::query("UPDATE sign_in_failures SET failures = 25, last_at = now()")
            .execute(&mut database)
            .await?;
        // The same for a name that nobody has.
        let slowed = client.sign_in(from("10.0.0.1", email, PASSWORD)).await.unwrap_err();
        assert_eq!(slowed.code(), Code::ResourceExhausted, "{email}");
        assert!(retry_after(&slowed).is_some_and(|wait| (1..=10).contains(&wait)), "{slowed:?}");
    }
    client.sign_in(from("10.0.0.2", ADMIN, PASSWORD)).await?;
    // It is a wait, not a lock-out: the right password is good after it.
    until("the wait is over", async || {
        client.clone().sign_in(from("10.0.0.1", ADMIN, PASSWORD)).await.is_ok()
    })
    .await?;
    // And forgives what was before.
    let refused = client.sign_in(from("10.0.0.1", ADMIN, "some wrong password")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    Ok(())
}

#[tokio::test]
async fn what_was_counted_long_ago_is_deleted() -> Result<()> {
    let rig = Rig::start().await?;
    let mut database = rig.database().await?;
    for statement in [
        "INSERT INTO sign_in_addresses VALUES ('10.9.9.9', now() - interval '1 minute')",
        "INSERT INTO sign_in_failures VALUES ('\\x00', 7, now() - interval '2 hours')",
    ] {
        sqlx::query(statement).execute(&mut database).await?;
    }
    // A new replica tidies up as it starts.
    let replica = rig.replica("replica", ServiceOptions::default())?;
    replica.await_ready().await?;
    let count = "SELECT (SELECT count(*) FROM sign_in_addresses) + (SELECT count(*) FROM sign_in_failures)";
    until("they are gone", async || {
        sqlx::query_scalar::<_, i64>(count).fetch_one(&mut database).await.is_ok_and(|count| count == 0)
    })
    .await
}
