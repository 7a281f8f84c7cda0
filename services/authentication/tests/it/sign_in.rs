use anyhow::{Context as _, Result};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::Value;
use tonic::{Code, Status};
use weft_devstack::ServiceOptions;
use weft_proto::weft::auth::v1::{DeactivateUserRequest, GetSigningKeysRequest, Role};

use crate::helpers::{ADMIN, Client, PASSWORD, Rig, new_user, on_behalf, sign_in, sign_in_from, until};

/// Verifies a token as the broker does.
pub(crate) async fn verify(client: &mut Client, token: &str) -> Result<Value> {
    let jwks = client.get_signing_keys(GetSigningKeysRequest {}).await?.into_inner().jwks;
    let jwks: Value = serde_json::from_str(&jwks)?;
    let header = decode_header(token)?;
    let keys = jwks["keys"].as_array().context("no keys")?;
    let key = keys.iter().find(|key| key["kid"].as_str() == header.kid.as_deref()).context("unknown key")?;
    let key = DecodingKey::from_ed_components(key["x"].as_str().context("no x")?)?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_audience(&["weft-broker"]);
    validation.set_issuer(&["weft:shop/shop"]);
    Ok(decode::<Value>(token, &key, &validation)?.claims)
}

#[tokio::test]
async fn the_first_user_signs_in_and_the_logger_gets_an_entry() -> Result<()> {
    let rig = Rig::with(ServiceOptions::default().env("AUTH_ISSUER", "weft:shop/shop")).await?;
    let mut client = rig.client()?;
    let reply = client.sign_in(sign_in("admin@example.COM", PASSWORD)).await?.into_inner();
    let (user, tokens) = (reply.user.context("no user")?, reply.tokens.context("no tokens")?);
    assert_eq!((user.email.as_str(), user.role(), user.active), (ADMIN, Role::Admin, true));

    let claims = verify(&mut client, &tokens.access_token).await?;
    assert_eq!(claims["sub"], user.id);
    assert_eq!(claims["sid"], tokens.session_id);
    assert_eq!((claims["role"].as_str(), claims["email"].as_str()), (Some("admin"), Some(ADMIN)));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);

    until("the logger has the entry", async || rig.logger.has_entry(&format!("{ADMIN} logged in"))).await?;
    let (entry, _) = rig.logger.entries().remove(0);
    assert_eq!((entry.service.as_str(), entry.name.as_str()), ("authentication", "authentication"));
    assert_eq!(entry.attributes["session.id"], tokens.session_id);
    Ok(())
}

#[tokio::test]
async fn refused_sign_ins_have_the_same_message_and_cost_one_hash() -> Result<()> {
    const ROUNDS: usize = 3;
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let user = rig.user("inactive@example.com").await?;
    let admin = rig.sign_in_admin().await?;
    client.deactivate_user(on_behalf(&admin, DeactivateUserRequest { user_id: user.id })?).await?;

    let hashes = async || -> Result<u64> {
        let metrics = rig.admin("/metrics").await?.1;
        let count = metrics.lines().find_map(|line| line.strip_prefix("auth_hash_duration_seconds_count "));
        Ok(count.context("no hashes are counted")?.parse()?)
    };
    let mut responses = Vec::new();
    for round in 0..ROUNDS {
        // Each round from another address, so that the limit of the account does not apply.
        let address = format!("10.0.0.{round}");
        for (email, password) in [
            ("nobody@example.com", PASSWORD),
            (ADMIN, "another password altogether"),
            ("inactive@example.com", PASSWORD),
        ] {
            // A hash takes nearly all of the response time.
            let before = hashes().await?;
            let status = client.sign_in(sign_in_from(&address, email, password)).await.unwrap_err();
            assert_eq!(hashes().await? - before, 1, "{email}");
            responses.push((status.code(), status.message().to_owned()));
        }
    }
    responses.dedup();
    assert_eq!(responses, [(Code::Unauthenticated, "invalid credentials".to_owned())]);
    Ok(())
}

#[tokio::test]
async fn accepts_and_replaces_bcrypt_hashes() -> Result<()> {
    let rig = Rig::start().await?;
    let mut database = rig.database().await?;
    sqlx::query(
        "INSERT INTO users VALUES (gen_random_uuid(), 'old@example.com', 'Old', 'User', \
         '$2a$12$1zGLuYDDNvATh4RA4avbKuheAMpb1svexSzrQm7up.bnpwQHs0jNe', 'user', true, now(), now())",
    )
    .execute(&mut database)
    .await?;
    let hash = async |database: &mut _| -> Result<String> {
        let hash = "SELECT password_hash FROM users WHERE email = 'old@example.com'";
        Ok(sqlx::query_scalar(hash).fetch_one(database).await?)
    };
    let mut client = rig.client()?;
    let refused = client.sign_in(sign_in("old@example.com", "verysecre")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    assert!(hash(&mut database).await?.starts_with("$2a$"));
    // Two at once: both verify the old hash, but only one can replace it.
    let (mut one, mut two) = (client.clone(), client.clone());
    let (one, two) = tokio::join!(
        one.sign_in(sign_in_from("10.1.0.1", "old@example.com", "verysecret")),
        two.sign_in(sign_in_from("10.1.0.2", "OLD@example.com", "verysecret")),
    );
    one?;
    two?;
    assert!(hash(&mut database).await?.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    client.sign_in(sign_in_from("10.1.0.3", "old@example.com", "verysecret")).await?;
    Ok(())
}

#[tokio::test]
async fn refuses_sign_ins_when_the_hash_queue_is_full() -> Result<()> {
    let options = ServiceOptions::default().env("AUTH_HASH_THREADS", "1").env("AUTH_HASH_QUEUE", "2");
    let rig = Rig::with(options).await?;
    rig.user("one@example.com").await?;
    let client = rig.client()?;
    let calls: Vec<_> = (0..20)
        .map(|n| {
            let mut client = client.clone();
            tokio::spawn(async move {
                client.sign_in(sign_in_from(&format!("10.0.0.{n}"), "one@example.com", PASSWORD)).await
            })
        })
        .collect();
    let (mut done, mut busy) = (0, 0);
    for call in calls {
        match call.await? {
            Ok(_) => done += 1,
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                assert!(crate::helpers::retry_after(&status).is_some());
                busy += 1;
            }
        }
    }
    assert!(done >= 3 && busy > 0, "{done} done, {busy} refused");
    Ok(())
}

#[tokio::test]
async fn the_log_has_no_secrets() -> Result<()> {
    let rig = Rig::with(ServiceOptions::default().env("WEFT_LOG", "trace")).await?;
    rig.sign_in_admin().await?;
    let status: Status = rig.client()?.sign_in(sign_in(ADMIN, "some wrong secret here")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let admin = rig.sign_in_admin_from("10.0.0.9").await?;
    rig.client()?.create_user(on_behalf(&admin, new_user("logged@example.com"))?).await?;
    let log = std::fs::read_to_string(rig.authentication.log_file())?;
    for secret in [PASSWORD, "some wrong secret here", &crate::helpers::refresh_token(&admin), "$argon2id"] {
        assert!(!log.contains(secret), "the log contains {secret}");
    }
    Ok(())
}
