//! Passwords and addresses that look the same and are written with other code points.

use anyhow::{Context as _, Result};
use argon2::password_hash::PasswordHasher as _;
use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, Version};
use sqlx::PgConnection;
use tonic::Code;
use weft_proto::weft::auth::v1::{ChangePasswordRequest, CreateUserRequest};

use crate::helpers::{Rig, from, new_user, on_behalf};

const COMPOSED: &str = "Zo\u{eb} likes blue tulips";
const DECOMPOSED: &str = "Zoe\u{308}\u{a0}likes blue tulips";

/// A hash of the very bytes, with today's parameters, as earlier versions made it.
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
async fn a_password_that_was_kept_as_typed_signs_in_once_as_typed_and_then_in_every_spelling() -> Result<()> {
    let rig = Rig::start().await?;
    let (mut client, mut database) = (rig.client()?, rig.database().await?);
    for (n, old) in [hash_of_bytes(DECOMPOSED), bcrypt::hash(DECOMPOSED, 4)?].into_iter().enumerate() {
        let email = format!("old{n}@example.com");
        rig.user(&email).await?;
        let update =
            sqlx::query("UPDATE users SET password_hash = $2 WHERE email = $1").bind(&email).bind(&old);
        update.execute(&mut database).await?;
        let mut sign_in = async |address: &str, password: &str| {
            client.sign_in(from(&format!("10.{n}.0.{address}"), &email, password)).await
        };
        let refused = sign_in("1", COMPOSED).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert_eq!(hash(&mut database, &email).await?, old, "nothing but a match replaces a hash");
        sign_in("2", DECOMPOSED).await?;
        assert_ne!(hash(&mut database, &email).await?, old);
        sign_in("3", COMPOSED).await?;
        sign_in("4", DECOMPOSED).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_new_password_is_the_same_in_every_spelling() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let admin = rig.sign_in_admin().await?;
    let new = CreateUserRequest { password: DECOMPOSED.to_owned(), ..new_user("zoe@example.com") };
    for (password, created) in [(DECOMPOSED, true), (COMPOSED, false)] {
        let repeat = CreateUserRequest { password: password.to_owned(), ..new.clone() };
        assert_eq!(client.create_user(on_behalf(&admin, repeat)?).await?.into_inner().created, created);
    }
    let zoe = client.sign_in(from("10.0.0.1", "zoe@example.com", COMPOSED)).await?.into_inner();
    let change = |current: &str, new: &str| {
        let (current_password, new_password) = (current.to_owned(), new.to_owned());
        on_behalf(&zoe, ChangePasswordRequest { current_password, new_password })
    };
    client.change_password(change(DECOMPOSED, "u\u{308}ber alle Berge 7")?).await?;
    // The repeat of a change whose reply was lost.
    client.change_password(change(COMPOSED, "\u{fc}ber\u{2003}alle Berge 7")?).await?;
    client.sign_in(from("10.0.0.2", "zoe@example.com", "\u{fc}ber alle Berge 7")).await?;

    for (field, password) in [("letters", "14 charactu\u{308}rs"), ("common", "password\u{a0}password")] {
        let weak = CreateUserRequest { password: password.to_owned(), ..new_user("weak@example.com") };
        let refused = client.create_user(on_behalf(&admin, weak)?).await.err().context(field)?;
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().starts_with("password: "), "{refused}");
    }
    Ok(())
}
