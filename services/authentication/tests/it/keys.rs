use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;
use tonic::{Code, Request};
use weft_devstack::ServiceOptions;
use weft_proto::weft::auth::v1::{
    GetSigningKeysRequest, RefreshRequest, RotateSigningKeysRequest, SignInResponse,
};

use crate::helpers::{
    ADMIN, Client, ENCRYPTION_KEY, PASSWORD, Rig, client_of, on_behalf, refresh_token, sign_in, sign_in_from,
    until,
};
use crate::sign_in::verify;

async fn published(client: &mut Client) -> Result<HashSet<String>> {
    let jwks = client.get_signing_keys(GetSigningKeysRequest {}).await?.into_inner().jwks;
    let jwks: Value = serde_json::from_str(&jwks)?;
    let keys = jwks["keys"].as_array().context("no keys")?;
    for key in keys {
        assert_eq!((key["kty"].as_str(), key["crv"].as_str()), (Some("OKP"), Some("Ed25519")));
        assert!(key.get("d").is_none(), "a private key is published");
    }
    Ok(keys.iter().filter_map(|key| key["kid"].as_str().map(str::to_owned)).collect())
}

async fn token(client: &mut Client, n: usize) -> Result<String> {
    let address = format!("10.0.{}.{}", n / 250, n % 250);
    let reply = client.sign_in(sign_in_from(&address, ADMIN, PASSWORD)).await?.into_inner();
    Ok(reply.tokens.context("no tokens")?.access_token)
}

#[tokio::test]
async fn keys_rotate_and_are_published_before_they_sign() -> Result<()> {
    let options = ServiceOptions::default().env("AUTH_KEY_LIFE", "5s").env("AUTH_ISSUER", "weft:shop/shop");
    let rig = Rig::with(options).await?;
    let mut client = rig.client()?;
    let first = token(&mut client, 0).await?;
    let (mut signers, mut n) = (HashSet::new(), 0);
    until("a third key signs", async || {
        n += 1;
        let fetched = Instant::now();
        let known = published(&mut client).await.unwrap();
        let token = token(&mut client, n).await.unwrap();
        let kid = jsonwebtoken::decode_header(&token).unwrap().kid.unwrap();
        // A set fetched less than half a second before has the key. On a busy machine some rounds are too slow to check this.
        if fetched.elapsed() < Duration::from_millis(400) {
            assert!(known.contains(&kid), "{kid} signs but was not published before");
        }
        verify(&mut client, &token).await.unwrap();
        signers.insert(kid);
        tokio::time::sleep(Duration::from_millis(100)).await;
        signers.len() == 3
    })
    .await?;
    // The first key no longer signs, but its tokens are still valid.
    verify(&mut client, &first).await?;
    Ok(())
}

const OTHER_KEY: &str = "another encryption key that tests use, long enough";

/// All rows: id, unencrypted private key, encrypted private key.
type Rows = Vec<(uuid::Uuid, Option<Vec<u8>>, Option<Vec<u8>>)>;

async fn rows(rig: &Rig) -> Result<Rows> {
    let rows = sqlx::query_as("SELECT id, seed, sealed FROM signing_keys ORDER BY signs_from, id");
    Ok(rows.fetch_all(&mut rig.database().await?).await?)
}

async fn restarted(rig: &Rig, keys: &str) -> Result<weft_devstack::Service> {
    rig.authentication.stop().await?;
    let name = format!("with-{}", keys.len());
    let next = rig.replica(&name, ServiceOptions::default().env("AUTH_ENCRYPTION_KEYS", keys))?;
    next.await_ready().await?;
    Ok(next)
}

fn kid(token: &str) -> Option<String> {
    jsonwebtoken::decode_header(token).ok()?.kid
}

#[tokio::test]
async fn encrypts_unencrypted_private_keys_when_no_earlier_version_runs() -> Result<()> {
    let rig = Rig::start().await?;
    let [(id, None, Some(sealed))] = &rows(&rig).await?[..] else {
        anyhow::bail!("expected one encrypted key")
    };
    let seed = [7; 32];
    assert_eq!(sealed.len(), 12 + 32 + 16);
    // The form that the previous version wrote.
    let clear = sqlx::query("UPDATE signing_keys SET seed = $1, sealed = NULL").bind(seed.as_slice());
    clear.execute(&mut rig.database().await?).await?;
    let next = restarted(&rig, ENCRYPTION_KEY).await?;
    assert!(matches!(&rows(&rig).await?[..], [(_, Some(_), None)]), "pods of the earlier version need it");
    let passed = sqlx::query("UPDATE signing_keys SET clear_until = now()");
    passed.execute(&mut rig.database().await?).await?;
    until("the key is encrypted", async || matches!(rows(&rig).await.as_deref(), Ok([(_, None, Some(_))])))
        .await?;
    let [(same, None, Some(sealed))] = &rows(&rig).await?[..] else {
        anyhow::bail!("the key is not encrypted")
    };
    assert_eq!(same, id);
    assert!(!sealed.windows(32).any(|window| window == seed), "the private key is not encrypted");
    let jwks = client_of(&next)?.get_signing_keys(GetSigningKeysRequest {}).await?.into_inner().jwks;
    let public = ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key().to_bytes();
    use base64::Engine as _;
    let public = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(public);
    assert!(jwks.contains(&public) && jwks.contains(&id.to_string()), "{jwks}");
    Ok(())
}

#[tokio::test]
async fn a_new_first_encryption_key_replaces_the_former_one() -> Result<()> {
    let rig = Rig::start().await?;
    let before = rows(&rig).await?;
    let both = restarted(&rig, &format!("{OTHER_KEY}\n{ENCRYPTION_KEY}\n")).await?;
    let after = rows(&rig).await?;
    assert_eq!((after.len(), after[0].0), (1, before[0].0));
    assert_ne!(after[0].2, before[0].2);
    let token = client_of(&both)?.sign_in(sign_in(ADMIN, PASSWORD)).await?.into_inner().tokens;
    both.stop().await?;
    let only = rig.replica("only", ServiceOptions::default().env("AUTH_ENCRYPTION_KEYS", OTHER_KEY))?;
    only.await_ready().await?;
    let kid = kid(&token.context("no tokens")?.access_token).context("no kid")?;
    assert!(published(&mut client_of(&only)?).await?.contains(&kid));
    assert_eq!(rows(&rig).await?, after);
    Ok(())
}

#[tokio::test]
async fn a_lost_encryption_key_causes_a_new_signing_key_and_ends_no_session() -> Result<()> {
    let rig = Rig::start().await?;
    let ada = rig.sign_in_admin().await?;
    let former = kid(&ada.tokens.as_ref().context("no tokens")?.access_token).context("no kid")?;
    let next = restarted(&rig, OTHER_KEY).await?;
    let mut client = client_of(&next)?;
    let refreshed = client.refresh(RefreshRequest { refresh_token: refresh_token(&ada) }).await?.into_inner();
    let signed_with = kid(&refreshed.tokens.context("no tokens")?.access_token).context("no kid")?;
    assert_ne!(signed_with, former);
    assert_eq!(published(&mut client).await?, HashSet::from([signed_with]));
    let metrics = reqwest::get(format!("{}/metrics", next.admin_url())).await?.text().await?;
    assert!(metrics.contains("auth_signing_keys_unreadable 1"), "{metrics}");
    let log = std::fs::read_to_string(next.log_file())?;
    assert_eq!(log.matches("can't be decrypted").count(), 1, "{log}");
    assert!(log.contains(&former), "the log names the key");

    // The row is kept: with the former encryption key back in the list, the signing key is published again.
    assert_eq!(rows(&rig).await?.len(), 2);
    next.stop().await?;
    let both = format!("{OTHER_KEY}\n{ENCRYPTION_KEY}");
    let found = rig.replica("found", ServiceOptions::default().env("AUTH_ENCRYPTION_KEYS", both))?;
    found.await_ready().await?;
    assert!(published(&mut client_of(&found)?).await?.contains(&former));
    Ok(())
}

fn kid_of(signed_in: &SignInResponse) -> Option<String> {
    kid(&signed_in.tokens.as_ref()?.access_token)
}

async fn rotate(client: &mut Client, admin: &SignInResponse, revoke: bool) -> Result<String> {
    let request = on_behalf(admin, RotateSigningKeysRequest { revoke })?;
    Ok(client.rotate_signing_keys(request).await?.into_inner().key_id)
}

#[tokio::test]
async fn revoking_removes_a_key_at_every_replica_and_keeps_sessions() -> Result<()> {
    let rig = Rig::start().await?;
    let other = rig.replica("other", ServiceOptions::default())?;
    other.await_ready().await?;
    let (mut here, mut there) = (rig.client()?, client_of(&other)?);
    let admin = rig.sign_in_admin().await?;
    let former = kid_of(&admin).context("no kid")?;
    let new = rotate(&mut here, &admin, true).await?;
    assert_ne!(new, former);
    for client in [&mut here, &mut there] {
        assert_eq!(published(client).await?, HashSet::from([new.clone()]));
    }
    // The request for its keys made the replica load the new one.
    let refreshed =
        there.refresh(RefreshRequest { refresh_token: refresh_token(&admin) }).await?.into_inner();
    let token = refreshed.tokens.context("no tokens")?.access_token;
    assert_eq!(kid(&token), Some(new));
    until("the logger has the entry", async || {
        rig.logger.has_entry(&format!("{ADMIN} revoked the signing keys"))
    })
    .await
}

#[tokio::test]
async fn a_replaced_key_stays_published() -> Result<()> {
    let rig = Rig::with(ServiceOptions::default().env("AUTH_KEY_LIFE", "60s")).await?;
    let mut client = rig.client()?;
    let admin = rig.sign_in_admin().await?;
    let former = kid_of(&admin).context("no kid")?;
    let new = rotate(&mut client, &admin, false).await?;
    assert_eq!(published(&mut client).await?, HashSet::from([former.clone(), new.clone()]));
    let mut n = 0;
    until("the new key signs", async || {
        n += 1;
        let kid = kid(&token(&mut client, n).await.unwrap()).unwrap();
        assert!([&former, &new].contains(&&kid), "{kid} signs");
        tokio::time::sleep(Duration::from_millis(200)).await;
        kid == new
    })
    .await?;
    assert_eq!(published(&mut client).await?, HashSet::from([former, new]));
    Ok(())
}

#[tokio::test]
async fn only_an_admin_rotates_keys() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    rig.user("ada@example.com").await?;
    let ada = client.sign_in(sign_in_from("10.0.0.1", "ada@example.com", PASSWORD)).await?.into_inner();
    let before = published(&mut client).await?;
    let request = on_behalf(&ada, RotateSigningKeysRequest { revoke: true })?;
    assert_eq!(client.rotate_signing_keys(request).await.unwrap_err().code(), Code::PermissionDenied);
    let nobody = Request::new(RotateSigningKeysRequest { revoke: true });
    assert_eq!(client.rotate_signing_keys(nobody).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(published(&mut client).await?, before);
    Ok(())
}
