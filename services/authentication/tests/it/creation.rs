//! Creation of users, and its repeats.

use anyhow::{Context as _, Result};
use tonic::Code;
use weft_devstack::ServiceOptions;
use weft_proto::weft::auth::v1::{
    ChangePasswordRequest, CreateUserRequest, DeactivateUserRequest, DeleteUserRequest, GetUserRequest, Role,
    UpdateUserRequest, User,
};

use crate::helpers::{ADMIN, PASSWORD, Rig, new_user, on_behalf, sign_in};

#[tokio::test]
async fn an_email_is_unique_ignoring_case_and_creation_is_idempotent() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let admin = rig.sign_in_admin().await?;
    let new = new_user("Ада@Пример.рф");
    for created in [true, false] {
        let reply = client.create_user(on_behalf(&admin, new.clone())?).await?.into_inner();
        assert_eq!(reply.created, created);
        let user = reply.user.context("no user")?;
        assert_eq!(
            (&user.id, &user.email, user.role(), user.active),
            (&new.id, &new.email, Role::User, true)
        );
    }
    for taken in [new_user("АДА@пример.РФ"), new_user(&ADMIN.to_uppercase())] {
        let refused = client.create_user(on_behalf(&admin, taken)?).await.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    }
    for other in [
        CreateUserRequest { email: "other@example.com".into(), ..new.clone() },
        CreateUserRequest { first_name: "Other".into(), ..new.clone() },
        CreateUserRequest { last_name: "Other".into(), ..new.clone() },
        CreateUserRequest { role: Role::Admin.into(), ..new.clone() },
        CreateUserRequest { password: format!("{PASSWORD}!"), ..new.clone() },
    ] {
        let refused = client.create_user(on_behalf(&admin, other)?).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    }
    client.sign_in(sign_in("ада@пример.рф", PASSWORD)).await?;
    Ok(())
}

/// Repeats arrive during the whole time that the creation takes. With one connection to the store, they also wait between two reads.
#[tokio::test]
async fn concurrent_repeats_of_a_creation_get_the_same_reply() -> Result<()> {
    let rig = Rig::with(ServiceOptions::default().env("AUTH_STORE_CONNECTIONS", "1")).await?;
    let mut client = rig.client()?;
    let admin = rig.sign_in_admin().await?;
    for round in 0..5 {
        let new = new_user(&format!("ada{round}@example.com"));
        let mut calls = Vec::new();
        for _ in 0..30 {
            let (mut caller, new) = (client.clone(), on_behalf(&admin, new.clone())?);
            calls.push(tokio::spawn(async move { caller.create_user(new).await }));
            client.get_user(on_behalf(&admin, GetUserRequest {})?).await?;
        }
        let (mut users, mut created) = (Vec::<User>::new(), 0);
        for call in calls {
            let reply = call.await??.into_inner();
            created += usize::from(reply.created);
            users.extend(reply.user);
        }
        assert_eq!((users.len(), created), (30, 1), "round {round}");
        assert!(users.iter().all(|user| user == &users[0]), "round {round}: {users:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_repeat_gets_the_first_reply_after_the_user_was_changed() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let admin = rig.sign_in_admin().await?;
    let new = new_user("ada@example.com");
    let first = client.create_user(on_behalf(&admin, new.clone())?).await?.into_inner().user;
    let ada = client.sign_in(sign_in(&new.email, PASSWORD)).await?.into_inner();
    let new_password = "another password for tests".to_owned();
    let password = ChangePasswordRequest { current_password: PASSWORD.into(), new_password };
    client.change_password(on_behalf(&ada, password.clone())?).await?;
    let changed = UpdateUserRequest {
        user_id: new.id.clone(),
        role: Some(Role::Viewer.into()),
        first_name: Some("New".into()),
        last_name: None,
    };
    client.update_user(on_behalf(&admin, changed)?).await?;
    client.deactivate_user(on_behalf(&admin, DeactivateUserRequest { user_id: new.id.clone() })?).await?;
    let repeat = client.create_user(on_behalf(&admin, new.clone())?).await?.into_inner();
    assert_eq!((repeat.user, repeat.created), (first, false));
    // What the user became is not what was asked for first.
    for other in [
        CreateUserRequest { first_name: "New".into(), role: Role::Viewer.into(), ..new.clone() },
        CreateUserRequest { password: password.new_password, ..new },
    ] {
        let refused = client.create_user(on_behalf(&admin, other)?).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    }
    Ok(())
}

#[tokio::test]
async fn a_repeat_does_not_recreate_a_deleted_user() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let admin = rig.sign_in_admin().await?;
    let (first, second) = (new_user("ada@example.com"), new_user("ada@example.com"));
    for new in [&first, &second] {
        client.create_user(on_behalf(&admin, new.clone())?).await?;
        client.delete_user(on_behalf(&admin, DeleteUserRequest { user_id: new.id.clone() })?).await?;
    }
    for deleted in [first, CreateUserRequest { first_name: "Other".into(), ..second }] {
        let refused = client.create_user(on_behalf(&admin, deleted)?).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound, "{refused}");
        assert!(refused.message().contains("was deleted"), "{refused}");
    }
    let kept = "SELECT count(*) FROM created_users WHERE num_nonnulls(first_name, last_name, role, password_hash) > 0";
    let kept: i64 = sqlx::query_scalar(kept).fetch_one(&mut rig.database().await?).await?;
    assert_eq!(kept, 1, "only the admin's creation has content");
    Ok(())
}

/// A replica of the version before creations were recorded writes only the user.
#[tokio::test]
async fn a_creation_without_a_record_is_compared_with_the_user() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let admin = rig.sign_in_admin().await?;
    let new = new_user("ada@example.com");
    client.create_user(on_behalf(&admin, new.clone())?).await?;
    sqlx::query("DELETE FROM created_users").execute(&mut rig.database().await?).await?;
    assert!(!client.create_user(on_behalf(&admin, new.clone())?).await?.into_inner().created);
    let other = CreateUserRequest { last_name: "Other".into(), ..new.clone() };
    let refused = client.create_user(on_behalf(&admin, other)?).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    client.delete_user(on_behalf(&admin, DeleteUserRequest { user_id: new.id.clone() })?).await?;
    let refused = client.create_user(on_behalf(&admin, new)?).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "{refused}");
    Ok(())
}
