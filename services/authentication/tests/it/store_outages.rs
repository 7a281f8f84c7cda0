use std::time::Duration;

use anyhow::Result;
use tonic::{Code, Request};
use weft_devstack::ServiceOptions;
use weft_proto::weft::auth::v1::{GetSigningKeysRequest, SignOutRequest};

use crate::helpers::{ADMIN, PASSWORD, Rig, on_behalf, sign_in_from, until};

/// Far longer than the store's timeout in these tests, so that only that timeout can end a call early.
const DEADLINE: Duration = Duration::from_secs(60);
/// Long enough for a slow but working store.
const STORE_TIMEOUT: &str = "5s";

async fn rig() -> Result<Rig> {
    Rig::with(ServiceOptions::default().env("AUTH_STORE_TIMEOUT", STORE_TIMEOUT)).await
}

fn with_deadline<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

#[tokio::test]
async fn recovers_after_the_store_was_killed() -> Result<()> {
    let rig = rig().await?;
    let mut client = rig.client()?;
    let signed_in = rig.sign_in_admin().await?;
    for _ in 0..2 {
        rig.store.kill().await?;
        let refused =
            client.sign_in(with_deadline(sign_in_from("10.0.0.1", ADMIN, PASSWORD))).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        assert!(refused.metadata().contains_key("retry-after"));
        // Tokens can still be verified.
        client.get_signing_keys(GetSigningKeysRequest {}).await?;
        until("the replica is not ready", async || {
            rig.admin("/readyz").await.is_ok_and(|(code, _)| code == 503)
        })
        .await?;
        assert_eq!(rig.admin("/livez").await?.0, 200);
        rig.store.start().await?;
        rig.authentication.await_ready().await?;
        client.sign_in(sign_in_from("10.0.0.1", ADMIN, PASSWORD)).await?;
    }
    assert_eq!(
        client.sign_out(on_behalf(&signed_in, SignOutRequest::default())?).await?.into_inner().ended,
        1
    );
    until("all letters are delivered", async || {
        rig.mail.mails().len() == 1 && rig.logger.entries().len() == 4
    })
    .await
}

#[tokio::test]
async fn answers_in_time_while_the_store_hangs() -> Result<()> {
    let rig = rig().await?;
    let mut client = rig.client()?;
    rig.sign_in_admin().await?;
    rig.store.pause()?;
    let calls: Vec<_> = (0..30)
        .map(|n| {
            let mut client = client.clone();
            tokio::spawn(async move {
                client.sign_in(with_deadline(sign_in_from(&format!("10.0.0.{n}"), ADMIN, PASSWORD))).await
            })
        })
        .collect();
    for call in calls {
        let refused = call.await?.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    }
    rig.store.resume()?;
    until("sign-ins succeed again", async || {
        client.clone().sign_in(with_deadline(sign_in_from("10.1.0.1", ADMIN, PASSWORD))).await.is_ok()
    })
    .await?;
    client.sign_in(sign_in_from("10.1.0.2", ADMIN, PASSWORD)).await?;
    Ok(())
}

#[tokio::test]
async fn starts_without_a_store_and_becomes_ready_when_it_is_available() -> Result<()> {
    let rig = Rig::without_store().await?;
    let mut client = rig.client()?;
    until("the port is open", async || {
        matches!(
            client.clone().sign_in(with_deadline(sign_in_from("10.0.0.1", ADMIN, PASSWORD))).await,
            Err(status) if status.message().contains("the store")
        )
    })
    .await?;
    let keys = client.get_signing_keys(GetSigningKeysRequest {}).await.unwrap_err();
    assert_eq!(keys.code(), Code::Unavailable);
    assert_eq!(rig.admin("/readyz").await?.0, 503);
    rig.store.start().await?;
    rig.authentication.await_ready().await?;
    client.sign_in(sign_in_from("10.0.0.1", ADMIN, PASSWORD)).await?;
    Ok(())
}
