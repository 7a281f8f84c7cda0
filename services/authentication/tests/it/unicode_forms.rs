//! Passwords and addresses that look the same but have different code points.

use anyhow::{Context as _, Result};
use argon2::password_hash::PasswordHasher as _;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, Version};
use sqlx::PgConnection;
use tonic::Code;
use unicode_normalization::UnicodeNormalization as _;
use uuid::Uuid;
use weft_devstack::ServiceOptions;
use weft_proto::weft::auth::v1::{ChangePasswordRequest, CreateUserRequest};

use crate::helpers::{PASSWORD, Rig, new_user, on_behalf, sign_in_from, until};

const COMPOSED: &str = "Zo\u{eb} likes blue tulips";
const DECOMPOSED: &str = "Zoe\u{308}\u{a0}likes blue tulips";

/// A hash of the bytes as typed, with the current parameters, as created by earlier versions.
fn hash_of_bytes(password: &str) -> String {
    let argon2 =
        Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(19 * 1_024, 2, 1, None).unwrap());
    let hash: PasswordHash = argon2.hash_password_with_salt(password.as_bytes(), &[1; 16]).unwrap();
    hash.to_string()
}

async fn hash(database: &mut PgConnection, email: &str) -> Result<String> {
    let hash = sqlx::query_scalar("SELECT password_hash FROM users WHERE email = $1").bind(email);
    Ok(hash.fetch_one(database).await?)
}

#[tokio::test]
async fn a_hash_of_the_typed_bytes_is_replaced_on_sign_in() -> Result<()> {
    let rig = Rig::start().await?;
    let (mut client, mut database) = (rig.client()?, rig.database().await?);
    for (n, old) in [hash_of_bytes(DECOMPOSED), bcrypt::hash(DECOMPOSED, 4)?].into_iter().enumerate() {
        let email = format!("old{n}@example.com");
        rig.user(&email).await?;
        let update =
            sqlx::query("UPDATE users SET password_hash = $2 WHERE email = $1").bind(&email).bind(&old);
        update.execute(&mut database).await?;
        let mut sign_in = async |address: &str, password: &str| {
            client.sign_in(sign_in_from(&format!("10.{n}.0.{address}"), &email, password)).await
        };
        let refused = sign_in("1", COMPOSED).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert_eq!(hash(&mut database, &email).await?, old, "only a match replaces a hash");
        sign_in("2", DECOMPOSED).await?;
        assert_ne!(hash(&mut database, &email).await?, old);
        sign_in("3", COMPOSED).await?;
        sign_in("4", DECOMPOSED).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_new_password_matches_in_every_unicode_form() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let admin = rig.sign_in_admin().await?;
    let new = CreateUserRequest { password: DECOMPOSED.to_owned(), ..new_user("zoe@example.com") };
    for (password, created) in [(DECOMPOSED, true), (COMPOSED, false)] {
        let repeat = CreateUserRequest { password: password.to_owned(), ..new.clone() };
        assert_eq!(client.create_user(on_behalf(&admin, repeat)?).await?.into_inner().created, created);
    }
    let zoe = client.sign_in(sign_in_from("10.0.0.1", "zoe@example.com", COMPOSED)).await?.into_inner();
    let change = |current: &str, new: &str| {
        let (current_password, new_password) = (current.to_owned(), new.to_owned());
        on_behalf(&zoe, ChangePasswordRequest { current_password, new_password })
    };
    client.change_password(change(DECOMPOSED, "u\u{308}ber alle Berge 7")?).await?;
    // A repeat of the change, in another form.
    client.change_password(change(COMPOSED, "\u{fc}ber\u{2003}alle Berge 7")?).await?;
    client.sign_in(sign_in_from("10.0.0.2", "zoe@example.com", "\u{fc}ber alle Berge 7")).await?;

    for (field, password) in [("length", "14 charactu\u{308}rs"), ("common", "password\u{a0}password")] {
        let weak = CreateUserRequest { password: password.to_owned(), ..new_user("weak@example.com") };
        let refused = client.create_user(on_behalf(&admin, weak)?).await.err().context(field)?;
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().starts_with("password: "), "{refused}");
    }
    Ok(())
}

#[tokio::test]
async fn an_address_is_unique_in_every_unicode_form() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let admin = rig.sign_in_admin().await?;
    let new = new_user("zoe\u{308}@bu\u{308}cher.example");
    for (email, created) in [(new.email.clone(), true), ("zo\u{eb}@b\u{fc}cher.example".to_owned(), false)] {
        let repeat = CreateUserRequest { email, ..new.clone() };
        let reply = client.create_user(on_behalf(&admin, repeat)?).await?.into_inner();
        let email = reply.user.map(|user| user.email);
        assert_eq!((reply.created, email.as_deref()), (created, Some("zo\u{eb}@b\u{fc}cher.example")));
    }
    let taken = client.create_user(on_behalf(&admin, new_user("ZOE\u{308}@B\u{dc}CHER.example"))?).await;
    assert_eq!(taken.unwrap_err().code(), Code::AlreadyExists);
    for (n, email) in ["ZOE\u{308}@bu\u{308}cher.example", "zo\u{cb}@b\u{fc}cher.example"].iter().enumerate()
    {
        client.sign_in(sign_in_from(&format!("10.0.0.{n}"), email, PASSWORD)).await?;
    }
    Ok(())
}

/// Restores the state before the migration of addresses to NFC.
async fn before_the_migration(rig: &Rig, accounts: &[(Uuid, &str)]) -> Result<PgConnection> {
    let mut database = rig.database().await?;
    let back = sqlx::query("DELETE FROM _sqlx_migrations WHERE version = 10");
    assert_eq!(back.execute(&mut database).await?.rows_affected(), 1);
    for (id, email) in accounts {
        let old = "INSERT INTO users VALUES ($1, $2, '', '', '', 'user', true, now(), now())";
        sqlx::query(old).bind(id).bind(email).execute(&mut database).await?;
    }
    Ok(database)
}

#[tokio::test]
async fn migrates_stored_addresses_to_nfc() -> Result<()> {
    let rig = Rig::start().await?;
    let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
    let accounts = [(one, "Zoe\u{308}@example.com"), (two, "ann@example.com")];
    let mut database = before_the_migration(&rig, &accounts).await?;
    rig.replica("new", ServiceOptions::default())?.await_ready().await?;
    let email = sqlx::query_scalar::<_, String>("SELECT email FROM users WHERE id = $1").bind(one);
    assert_eq!(email.fetch_one(&mut database).await?, "Zo\u{eb}@example.com");
    Ok(())
}

#[tokio::test]
async fn the_migration_stops_at_two_accounts_with_one_address() -> Result<()> {
    let rig = Rig::start().await?;
    let (one, two, third) = (Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4());
    let accounts =
        [(one, "zoe\u{308}@example.com"), (two, "ZO\u{cb}@example.com"), (third, "u\u{308}@example.com")];
    let mut database = before_the_migration(&rig, &accounts).await?;
    let replica = rig.replica("new", ServiceOptions::default())?;
    let reported = async || {
        let status = reqwest::get(format!("{}/readyz", replica.admin_url())).await.ok()?;
        (status.status() == 503).then_some(())?;
        status.text().await.ok()
    };
    until("both ids are reported", async || {
        let report = reported().await.unwrap_or_default();
        report.contains(&one.to_string()) && report.contains(&two.to_string())
    })
    .await?;
    let report = reported().await.context("the replica is ready")?;
    assert!(
        report.contains("same email address in Unicode NFC") && !report.contains(&third.to_string()),
        "{report}"
    );
    let log = std::fs::read_to_string(replica.log_file())?;
    assert!(log.contains(&one.to_string()) && log.contains(&two.to_string()), "{log}");
    let unchanged = "SELECT count(*) FROM users WHERE email IS NOT NFC NORMALIZED";
    assert_eq!(sqlx::query_scalar::<_, i64>(unchanged).fetch_one(&mut database).await?, 2);

    let changed = sqlx::query("UPDATE users SET email = 'other@example.com' WHERE id = $1").bind(two);
    changed.execute(&mut database).await?;
    replica.await_ready().await?;
    assert_eq!(sqlx::query_scalar::<_, i64>(unchanged).fetch_one(&mut database).await?, 0);
    Ok(())
}

/// Scripts added by Unicode 16, which PostgreSQL may not support yet.
const NEW: [std::ops::RangeInclusive<u32>; 4] =
    [0x105c0..=0x105ff, 0x11380..=0x113ff, 0x16100..=0x1613f, 0x16d40..=0x16d7f];

#[tokio::test]
async fn postgresql_and_the_code_normalize_alike() -> Result<()> {
    let rig = Rig::start().await?;
    let composed = (0x80..=u32::from(char::MAX))
        .filter(|code| !NEW.iter().any(|range| range.contains(code)))
        .filter_map(char::from_u32)
        .map(String::from);
    let decomposed: Vec<String> = composed.map(|text| text.nfd().collect()).collect();
    assert!(decomposed.len() > 1_000_000);
    let decomposed: Vec<String> = decomposed.into_iter().filter(|text| text.nfc().ne(text.chars())).collect();
    assert!(decomposed.len() > 12_000, "{}", decomposed.len());
    let theirs = sqlx::query_scalar::<_, String>(
        "SELECT normalize(text, NFC) FROM unnest($1::text[]) WITH ORDINALITY AS all_of_it (text, n) ORDER BY n",
    );
    let theirs = theirs.bind(&decomposed).fetch_all(&mut rig.database().await?).await?;
    for (text, theirs) in decomposed.iter().zip(theirs) {
        assert_eq!(text.nfc().collect::<String>(), theirs, "{text:?}");
    }
    Ok(())
}
