use anyhow::{Context as _, Result};
use tonic::{Code, Request};
use weft_proto::weft::auth::v1::{
    CreateUserRequest, DeactivateUserRequest, GetUserRequest, ListUsersRequest, RefreshRequest, Role,
};

use crate::helpers::{ADMIN, PASSWORD, Rig, from, new_user, on_behalf, refresh_token, sign_in};

#[tokio::test]
async fn an_email_is_one_persons_whatever_its_case_and_a_repeat_creates_nobody() -> Result<()> {
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

#[tokio::test]
async fn a_new_user_with_a_wrong_field_is_refused_with_the_fields_name() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let admin = rig.sign_in_admin().await?;
    let good = new_user("good@example.com");
    for (field, wrong) in [
        ("id", CreateUserRequest { id: "7".into(), ..good.clone() }),
        ("email", CreateUserRequest { email: "a@b\r\nBcc: c@d".into(), ..good.clone() }),
        ("email", CreateUserRequest { email: format!("{}@b.c", "ü".repeat(40)), ..good.clone() }),
        ("email", CreateUserRequest { email: format!("a@{}.c", "x".repeat(64)), ..good.clone() }),
        ("id", CreateUserRequest { id: uuid::Uuid::nil().to_string(), ..good.clone() }),
        ("first_name", CreateUserRequest { first_name: "x".repeat(10_000), ..good.clone() }),
        ("last_name", CreateUserRequest { last_name: "a\nb".into(), ..good.clone() }),
        ("password", CreateUserRequest { password: "passwordpassword".into(), ..good.clone() }),
        ("password", CreateUserRequest { password: "x1".repeat(1 << 19), ..good.clone() }),
        ("role", CreateUserRequest { role: 9, ..good.clone() }),
    ] {
        let refused = client.create_user(on_behalf(&admin, wrong)?).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}");
        assert!(refused.message().starts_with(&format!("{field}: ")), "{refused}");
    }
    Ok(())
}

#[tokio::test]
async fn only_an_admin_administrates_whatever_the_call_says_of_the_role() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    rig.user("ada@example.com").await?;
    let mut ada = client.sign_in(sign_in("ada@example.com", PASSWORD)).await?.into_inner();
    // Rights that were taken away since the token was made.
    ada.user.as_mut().context("no user")?.role = Role::Admin.into();
    let create = client.create_user(on_behalf(&ada, new_user("x@example.com"))?).await.unwrap_err();
    let list = client.list_users(on_behalf(&ada, ListUsersRequest::default())?).await.unwrap_err();
    let deactivate = DeactivateUserRequest { user_id: uuid::Uuid::new_v4().to_string() };
    let deactivate = client.deactivate_user(on_behalf(&ada, deactivate)?).await.unwrap_err();
    for refused in [create, list, deactivate] {
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    }
    let nobody = client.list_users(Request::new(ListUsersRequest::default())).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
    let user = client.get_user(on_behalf(&ada, GetUserRequest {})?).await?.into_inner().user;
    assert_eq!(user.context("no user")?.email, "ada@example.com");
    Ok(())
}

#[tokio::test]
async fn a_deactivated_user_is_out_at_once_and_the_last_admin_stays() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let user = rig.user("ada@example.com").await?;
    let admin = rig.sign_in_admin().await?;
    let ada = client.sign_in(sign_in("ada@example.com", PASSWORD)).await?.into_inner();
    let deactivate = |user_id: &str| DeactivateUserRequest { user_id: user_id.to_owned() };
    for _ in 0..2 {
        let reply = client.deactivate_user(on_behalf(&admin, deactivate(&user.id))?).await?.into_inner();
        assert!(!reply.user.context("no user")?.active);
    }
    let refresh = RefreshRequest { refresh_token: refresh_token(&ada) };
    assert_eq!(client.refresh(refresh).await.unwrap_err().code(), Code::Unauthenticated);
    let gone = client.get_user(on_behalf(&ada, GetUserRequest {})?).await.unwrap_err();
    assert_eq!(gone.code(), Code::Unauthenticated);
    let refused = client.sign_in(from("10.0.0.1", "ada@example.com", PASSWORD)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);

    let own = admin.user.as_ref().context("no user")?.id.clone();
    let last = client.deactivate_user(on_behalf(&admin, deactivate(&own))?).await.unwrap_err();
    assert_eq!(last.code(), Code::FailedPrecondition);
    let unknown = deactivate(&uuid::Uuid::new_v4().to_string());
    let unknown = client.deactivate_user(on_behalf(&admin, unknown)?).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    Ok(())
}

#[tokio::test]
async fn two_admins_who_deactivate_each_other_at_once_do_not_both_succeed() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let first = rig.sign_in_admin().await?;
    let second = CreateUserRequest { role: Role::Admin.into(), ..new_user("second@example.com") };
    client.create_user(on_behalf(&first, second)?).await?;
    let second = client.sign_in(sign_in("second@example.com", PASSWORD)).await?.into_inner();
    let id = |reply: &weft_proto::weft::auth::v1::SignInResponse| DeactivateUserRequest {
        user_id: reply.user.as_ref().unwrap().id.clone(),
    };
    let (mut one, mut two) = (rig.client()?, rig.client()?);
    let (one, two) = tokio::join!(
        one.deactivate_user(on_behalf(&first, id(&second))?),
        two.deactivate_user(on_behalf(&second, id(&first))?),
    );
    assert_eq!([one.is_ok(), two.is_ok()].iter().filter(|ok| **ok).count(), 1);
    Ok(())
}

#[tokio::test]
async fn users_come_page_by_page_in_the_order_of_their_addresses() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let admin = rig.sign_in_admin().await?;
    for email in ["b@example.com", "C@example.com", "d@example.com"] {
        client.create_user(on_behalf(&admin, new_user(email))?).await?;
    }
    let (mut all, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let request = ListUsersRequest { limit: 2, cursor };
        let page = client.list_users(on_behalf(&admin, request)?).await?.into_inner();
        all.extend(page.users.into_iter().map(|user| user.email));
        pages += 1;
        cursor = page.next_cursor;
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(all, [ADMIN, "b@example.com", "C@example.com", "d@example.com"]);
    assert_eq!(pages, 2);
    for wrong in [
        ListUsersRequest { limit: 1_001, ..ListUsersRequest::default() },
        ListUsersRequest { cursor: "!".into(), ..ListUsersRequest::default() },
    ] {
        let refused = client.list_users(on_behalf(&admin, wrong)?).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    Ok(())
}
