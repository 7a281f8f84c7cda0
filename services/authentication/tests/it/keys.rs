use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;
use weft_devstack::ServiceOptions;
use weft_proto::weft::auth::v1::GetSigningKeysRequest;

use crate::helpers::{ADMIN, Client, PASSWORD, Rig, from, until};
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
    let reply = client.sign_in(from(&address, ADMIN, PASSWORD)).await?.into_inner();
    Ok(reply.tokens.context("no tokens")?.access_token)
}

#[tokio::test]
async fn keys_change_by_themselves_and_every_token_verifies_with_what_was_published_before_it() -> Result<()>
{
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
        // A set that was fetched less than half a second before has the key. On a busy machine some rounds are too slow to tell.
        if fetched.elapsed() < Duration::from_millis(400) {
            assert!(known.contains(&kid), "{kid} signs and was not published before");
        }
        verify(&mut client, &token).await.unwrap();
        signers.insert(kid);
        tokio::time::sleep(Duration::from_millis(100)).await;
        signers.len() == 3
    })
    .await?;
    // The first key signs no more, and its tokens are still good.
    verify(&mut client, &first).await?;
    Ok(())
}
