use anyhow::{Context as _, Result};
use tonic::{Code, Request};
use weft_proto::weft::auth::v1::{
    CreateUserRequest, DeactivateUserRequest, DeleteUserRequest, GetUserRequest, ListUsersRequest,
    ReactivateUserRequest, RefreshRequest, Role, SignInResponse, UpdateUserRequest,
};

use crate::helpers::{
    ADMIN, Client, PASSWORD, Rig, new_user, on_behalf, refresh_token, sign_in, sign_in_from, until,
};

#[tokio::test]
async fn rejects_a_new_user_with_an_invalid_field() -> Result<()> {
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
async fn checks_the_stored_role_instead_of_the_callers_claim() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    rig.user("ada@example.com").await?;
    let mut ada = client.sign_in(sign_in("ada@example.com", PASSWORD)).await?.into_inner();
    // A role that was taken away after the token was issued.
    ada.user.as_mut().context("no user")?.role = Role::Admin.into();
    let create = client.create_user(on_behalf(&ada, new_user("x@example.com"))?).await.unwrap_err();
    let list = client.list_users(on_behalf(&ada, ListUsersRequest::default())?).await.unwrap_err();
    let deactivate = DeactivateUserRequest { user_id: uuid::Uuid::new_v4().to_string() };
    let deactivate = client.deactivate_user(on_behalf(&ada, deactivate)?).await.unwrap_err();
    let own = id_of(&ada);
    let promote = UpdateUserRequest { role: Some(Role::Admin.into()), ..change(&own) };
    let promote = client.update_user(on_behalf(&ada, promote)?).await.unwrap_err();
    let reactivate = ReactivateUserRequest { user_id: own.clone() };
    let reactivate = client.reactivate_user(on_behalf(&ada, reactivate)?).await.unwrap_err();
    let delete = client.delete_user(on_behalf(&ada, delete(&own))?).await.unwrap_err();
    for refused in [create, list, deactivate, promote, reactivate, delete] {
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    }
    let nobody = client.list_users(Request::new(ListUsersRequest::default())).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
    let user = client.get_user(on_behalf(&ada, GetUserRequest {})?).await?.into_inner().user;
    assert_eq!(user.context("no user")?.email, "ada@example.com");
    Ok(())
}

#[tokio::test]
async fn deactivation_ends_sessions_at_once() -> Result<()> {
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
    let refused = client.sign_in(sign_in_from("10.0.0.1", "ada@example.com", PASSWORD)).await.unwrap_err();
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
async fn two_admins_cannot_deactivate_each_other_at_once() -> Result<()> {
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
async fn lists_users_in_pages_ordered_by_address() -> Result<()> {
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

fn change(user_id: &str) -> UpdateUserRequest {
    UpdateUserRequest { user_id: user_id.to_owned(), role: None, first_name: None, last_name: None }
}

fn delete(user_id: &str) -> DeleteUserRequest {
    DeleteUserRequest { user_id: user_id.to_owned() }
}

fn id_of(signed_in: &SignInResponse) -> String {
    signed_in.user.as_ref().map(|user| user.id.clone()).unwrap_or_default()
}

#[tokio::test]
async fn an_admin_changes_role_and_name_and_omitted_fields_stay() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let user = rig.user("ada@example.com").await?;
    let admin = rig.sign_in_admin().await?;
    let ada = client.sign_in(sign_in("ada@example.com", PASSWORD)).await?.into_inner();
    let viewer = UpdateUserRequest { role: Some(Role::Viewer.into()), ..change(&user.id) };
    let renamed = UpdateUserRequest { first_name: Some(String::new()), ..change(&user.id) };
    for (change, role, first_name) in [(viewer, Role::Viewer, "Ada"), (renamed, Role::Viewer, "")] {
        for _ in 0..2 {
            let call = on_behalf(&admin, change.clone())?;
            let changed = client.update_user(call).await?.into_inner().user.context("no user")?;
            assert_eq!((changed.role(), &*changed.first_name), (role, first_name));
            assert_eq!((&*changed.last_name, changed.active), ("Lovelace", true));
        }
    }
    // The new role applies at once in the open session.
    let now = client.get_user(on_behalf(&ada, GetUserRequest {})?).await?.into_inner().user;
    assert_eq!(now.context("no user")?.role(), Role::Viewer);
    let entry = format!("ada@example.com was given the role viewer by {ADMIN}");
    until("the change is in the log once", async || {
        rig.logger.entries().iter().filter(|(logged, _)| logged.data == entry).count() == 1
    })
    .await?;
    for (field, wrong) in [
        ("role", UpdateUserRequest { role: Some(9), ..change(&user.id) }),
        ("role", UpdateUserRequest { role: Some(0), ..change(&user.id) }),
        ("first_name", UpdateUserRequest { first_name: Some("a\nb".into()), ..change(&user.id) }),
        ("last_name", UpdateUserRequest { last_name: Some("x".repeat(10_000)), ..change(&user.id) }),
        ("user_id", change("7")),
    ] {
        let refused = client.update_user(on_behalf(&admin, wrong)?).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{field}");
        assert!(refused.message().starts_with(&format!("{field}: ")), "{refused}");
    }
    Ok(())
}

#[tokio::test]
async fn a_reactivated_user_can_sign_in_but_old_sessions_stay_ended() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let user = rig.user("ada@example.com").await?;
    let admin = rig.sign_in_admin().await?;
    let ada = client.sign_in(sign_in("ada@example.com", PASSWORD)).await?.into_inner();
    let deactivate = DeactivateUserRequest { user_id: user.id.clone() };
    client.deactivate_user(on_behalf(&admin, deactivate)?).await?;
    for _ in 0..2 {
        let reactivate = ReactivateUserRequest { user_id: user.id.clone() };
        let reply = client.reactivate_user(on_behalf(&admin, reactivate)?).await?.into_inner();
        assert!(reply.user.context("no user")?.active);
    }
    let refresh = RefreshRequest { refresh_token: refresh_token(&ada) };
    assert_eq!(client.refresh(refresh).await.unwrap_err().code(), Code::Unauthenticated);
    client.sign_in(sign_in("ada@example.com", PASSWORD)).await?;
    Ok(())
}

#[tokio::test]
async fn deletes_a_user_with_all_sessions_and_keeps_log_entries() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let user = rig.user("ada@example.com").await?;
    let admin = rig.sign_in_admin().await?;
    let ada = client.sign_in(sign_in("ada@example.com", PASSWORD)).await?.into_inner();
    let refresh = RefreshRequest { refresh_token: refresh_token(&ada) };
    client.refresh(refresh.clone()).await?;
    client.delete_user(on_behalf(&admin, delete(&user.id))?).await?;
    assert_eq!(client.refresh(refresh).await.unwrap_err().code(), Code::Unauthenticated);
    let gone = client.get_user(on_behalf(&ada, GetUserRequest {})?).await.unwrap_err();
    assert_eq!(gone.code(), Code::Unauthenticated);
    let refused = client.sign_in(sign_in_from("10.0.0.1", "ada@example.com", PASSWORD)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let again = client.delete_user(on_behalf(&admin, delete(&user.id))?).await.unwrap_err();
    assert_eq!(again.code(), Code::NotFound);
    let left = "SELECT (SELECT count(*) FROM users WHERE id = $1) + (SELECT count(*) FROM sessions WHERE user_id = $1)";
    let left: i64 = sqlx::query_scalar(left)
        .bind(user.id.parse::<uuid::Uuid>()?)
        .fetch_one(&mut rig.database().await?)
        .await?;
    assert_eq!(left, 0);
    for entry in ["ada@example.com logged in".to_owned(), format!("ada@example.com was deleted by {ADMIN}")] {
        until(&entry, async || rig.logger.has_entry(&entry)).await?;
    }
    // The address can be used again.
    client.create_user(on_behalf(&admin, new_user("ada@example.com"))?).await?;
    Ok(())
}

/// A refresh locks the session's row, a deletion the session and its tokens. They must not deadlock.
#[tokio::test]
async fn deletes_a_user_during_refreshes() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let admin = rig.sign_in_admin().await?;
    for round in 0..10 {
        let email = format!("ada{round}@example.com");
        let user = client.create_user(on_behalf(&admin, new_user(&email))?).await?.into_inner().user;
        let ada = client.sign_in(sign_in(&email, PASSWORD)).await?.into_inner();
        let refresh = RefreshRequest { refresh_token: refresh_token(&ada) };
        let refreshes = (0..4).map(|_| {
            let (mut client, refresh) = (client.clone(), refresh.clone());
            tokio::spawn(async move { client.refresh(refresh).await })
        });
        let refreshes: Vec<_> = refreshes.collect();
        client.delete_user(on_behalf(&admin, delete(&user.context("no user")?.id))?).await?;
        for refreshed in refreshes {
            let code = refreshed.await?.map_or_else(|status| status.code(), |_| Code::Ok);
            assert!([Code::Ok, Code::Unauthenticated].contains(&code), "round {round}: {code:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn does_not_recreate_a_deleted_first_user() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let first = rig.sign_in_admin().await?;
    let second = CreateUserRequest { role: Role::Admin.into(), ..new_user("second@example.com") };
    client.create_user(on_behalf(&first, second)?).await?;
    let second = client.sign_in(sign_in("second@example.com", PASSWORD)).await?.into_inner();
    client.delete_user(on_behalf(&second, delete(&id_of(&first)))?).await?;
    let replica = rig.replica("other", weft_devstack::ServiceOptions::default())?;
    replica.await_ready().await?;
    let refused = crate::helpers::client_of(&replica)?.sign_in(sign_in(ADMIN, PASSWORD)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    Ok(())
}

#[tokio::test]
async fn refuses_to_demote_deactivate_or_delete_the_last_active_admin() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let admin = rig.sign_in_admin().await?;
    let own = id_of(&admin);
    // An inactive admin does not count.
    let second = CreateUserRequest { role: Role::Admin.into(), ..new_user("second@example.com") };
    let second =
        client.create_user(on_behalf(&admin, second)?).await?.into_inner().user.context("no user")?;
    let inactive = DeactivateUserRequest { user_id: second.id.clone() };
    client.deactivate_user(on_behalf(&admin, inactive)?).await?;
    for role in [Role::User, Role::Viewer] {
        let demoted = UpdateUserRequest { role: Some(role.into()), ..change(&own) };
        let refused = client.update_user(on_behalf(&admin, demoted)?).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    }
    let refused = client.delete_user(on_behalf(&admin, delete(&own))?).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let renamed = UpdateUserRequest { first_name: Some("Grace".into()), ..change(&own) };
    client.update_user(on_behalf(&admin, renamed)?).await?;
    client.reactivate_user(on_behalf(&admin, ReactivateUserRequest { user_id: second.id })?).await?;
    let demoted = UpdateUserRequest { role: Some(Role::User.into()), ..change(&own) };
    client.update_user(on_behalf(&admin, demoted)?).await?;
    Ok(())
}

/// Two admins remove each other at the same time at two replicas, in every combination of demotion, deactivation and deletion.
#[tokio::test]
async fn two_admins_who_remove_each_other_at_once_leave_one_admin() -> Result<()> {
    let rig = Rig::start().await?;
    let replica = rig.replica("other", weft_devstack::ServiceOptions::default())?;
    replica.await_ready().await?;
    let (one, two) = (rig.client()?, crate::helpers::client_of(&replica)?);
    for (round, (first_way, second_way)) in
        WAYS.iter().flat_map(|first| WAYS.iter().map(move |second| (*first, *second))).enumerate()
    {
        let admins = rig.two_admins(round).await?;
        let (first, second) = tokio::join!(
            remove_admin(one.clone(), first_way, &admins[0], id_of(&admins[1])),
            remove_admin(two.clone(), second_way, &admins[1], id_of(&admins[0])),
        );
        let done = [first, second].iter().filter(|code| **code == Code::Ok).count();
        assert_eq!(done, 1, "{first_way:?} and {second_way:?}: {first:?} and {second:?}");
        let active = "SELECT count(*) FROM users WHERE role = 'admin' AND active";
        let active: i64 = sqlx::query_scalar(active).fetch_one(&mut rig.database().await?).await?;
        assert_eq!(active, 1, "{first_way:?} and {second_way:?}");
    }
    Ok(())
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Demote,
    Deactivate,
    Delete,
}

const WAYS: [Way; 3] = [Way::Demote, Way::Deactivate, Way::Delete];

async fn remove_admin(mut client: Client, way: Way, admin: &SignInResponse, user_id: String) -> Code {
    let done = match way {
        Way::Demote => {
            let change = UpdateUserRequest { role: Some(Role::User.into()), ..change(&user_id) };
            client.update_user(on_behalf(admin, change).unwrap()).await.map(drop)
        }
        Way::Deactivate => {
            let request = on_behalf(admin, DeactivateUserRequest { user_id }).unwrap();
            client.deactivate_user(request).await.map(drop)
        }
        Way::Delete => client.delete_user(on_behalf(admin, delete(&user_id)).unwrap()).await.map(drop),
    };
    done.map_or_else(|status| status.code(), |()| Code::Ok)
}

impl Rig {
    /// Creates two admins who are the only active ones.
    async fn two_admins(&self, round: usize) -> Result<[SignInResponse; 2]> {
        let mut database = self.database().await?;
        sqlx::query("UPDATE users SET role = 'admin', active = true WHERE email = $1")
            .bind(ADMIN)
            .execute(&mut database)
            .await?;
        let admin = self.sign_in_admin().await?;
        let mut client = self.client()?;
        let mut admins = Vec::new();
        for who in ["one", "two"] {
            let email = format!("{who}{round}@example.com");
            let new = CreateUserRequest { role: Role::Admin.into(), ..new_user(&email) };
            client.create_user(on_behalf(&admin, new)?).await?;
            admins.push(client.sign_in(sign_in(&email, PASSWORD)).await?.into_inner());
        }
        sqlx::query(
            "UPDATE users SET role = 'user' WHERE email NOT LIKE '%' || $1 || '@example.com' OR email = $2",
        )
        .bind(round.to_string())
        .bind(ADMIN)
        .execute(&mut database)
        .await?;
        admins.try_into().map_err(|_| anyhow::anyhow!("not two admins"))
    }
}
