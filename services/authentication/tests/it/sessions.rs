use anyhow::{Context as _, Result};
use tonic::{Code, Request};
use weft_devstack::ServiceOptions;
use weft_proto::weft::auth::v1::{
    ChangePasswordRequest, GetUserRequest, ListSessionsRequest, RefreshRequest, RefreshResponse,
    RevokeSessionRequest, SignInResponse, SignOutRequest,
};

use crate::helpers::{ADMIN, Client, PASSWORD, Rig, on_behalf, refresh_token, sign_in_from, until};

async fn refresh(client: &mut Client, token: &str) -> Result<RefreshResponse, tonic::Status> {
    let request = RefreshRequest { refresh_token: token.to_owned() };
    Ok(client.refresh(request).await?.into_inner())
}

fn next(reply: &RefreshResponse) -> String {
    reply.tokens.as_ref().map(|tokens| tokens.refresh_token.clone()).unwrap_or_default()
}

/// Lets the grace period of superseded tokens pass.
async fn pass_grace_period(rig: &Rig) -> Result<()> {
    let earlier = "UPDATE refresh_tokens SET used_at = used_at - interval '31 seconds'";
    sqlx::query(earlier).execute(&mut rig.database().await?).await?;
    Ok(())
}

#[tokio::test]
async fn a_superseded_token_ends_the_session_after_the_grace_period() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let first = rig.sign_in_admin().await?;
    let bystander = rig.sign_in_admin().await?;
    let second = refresh(&mut client, &refresh_token(&first)).await?;
    assert_eq!(second.user.as_ref().context("no user")?.email, ADMIN);
    let tokens = second.tokens.as_ref().context("no tokens")?;
    assert_eq!(tokens.session_id, first.tokens.as_ref().context("no tokens")?.session_id);
    let third = refresh(&mut client, &next(&second)).await?;
    refresh(&mut client, &refresh_token(&first)).await.context("a superseded token in the grace period")?;

    pass_grace_period(&rig).await?;
    // Either a thief, or the owner after a thief.
    let replay = refresh(&mut client, &refresh_token(&first)).await.unwrap_err();
    assert_eq!(replay.code(), Code::Unauthenticated);
    let cut_off = refresh(&mut client, &next(&third)).await.unwrap_err();
    assert_eq!((cut_off.code(), cut_off.message()), (Code::Unauthenticated, replay.message()));
    let refused = client.get_user(on_behalf(&first, GetUserRequest {})?).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    until("the logger is warned", async || {
        rig.logger
            .entries()
            .iter()
            .any(|(entry, _)| entry.data.contains("a superseded refresh token") && entry.level == 4)
    })
    .await?;
    refresh(&mut client, &refresh_token(&bystander)).await?;
    for invalid in ["", "x", &"A".repeat(43), &"A".repeat(1 << 20)] {
        assert_eq!(refresh(&mut client, invalid).await.unwrap_err().code(), Code::Unauthenticated);
    }
    Ok(())
}

#[tokio::test]
async fn a_refresh_whose_reply_was_lost_may_be_repeated_at_any_time() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let token = refresh_token(&rig.sign_in_admin().await?);
    let mut last = None;
    for _ in 0..3 {
        last = Some(refresh(&mut client, &token).await?);
        pass_grace_period(&rig).await?;
    }
    let last = next(last.as_ref().context("no reply")?);
    refresh(&mut client, &last).await?;
    Ok(())
}

#[tokio::test]
async fn a_sibling_of_a_used_token_is_a_replay_after_the_grace_period() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let token = refresh_token(&rig.sign_in_admin().await?);
    let (thief, owner) = (refresh(&mut client, &token).await?, refresh(&mut client, &token).await?);
    refresh(&mut client, &next(&thief)).await?;
    pass_grace_period(&rig).await?;
    for token in [next(&owner), next(&thief)] {
        assert_eq!(refresh(&mut client, &token).await.unwrap_err().code(), Code::Unauthenticated);
    }
    Ok(())
}

#[tokio::test]
async fn concurrent_refreshes_with_one_token_all_succeed() -> Result<()> {
    let rig = Rig::start().await?;
    let mut token = refresh_token(&rig.sign_in_admin().await?);
    for round in 0..5 {
        let tabs: Vec<_> = (0..4)
            .map(|_| {
                let (client, token) = (rig.client(), token.clone());
                tokio::spawn(async move { anyhow::Ok(refresh(&mut client?, &token).await?) })
            })
            .collect();
        let mut replies = Vec::new();
        for tab in tabs {
            replies.push(tab.await??);
        }
        token = next(&replies[round % replies.len()]);
        pass_grace_period(&rig).await?;
    }
    Ok(())
}

/// A replica of the previous version, which runs beside this one during an update, writes no parents.
#[tokio::test]
async fn a_token_superseded_by_the_previous_version_is_a_replay() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let first = refresh_token(&rig.sign_in_admin().await?);
    let second = refresh(&mut client, &first).await?;
    refresh(&mut client, &next(&second)).await?;
    let mut database = rig.database().await?;
    sqlx::query("UPDATE refresh_tokens SET parent = NULL").execute(&mut database).await?;
    let earlier = "UPDATE refresh_tokens SET used_at = used_at - interval '31 seconds', \
                   created_at = created_at - interval '31 seconds'";
    sqlx::query(earlier).execute(&mut database).await?;
    assert_eq!(refresh(&mut client, &first).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(refresh(&mut client, &next(&second)).await.unwrap_err().code(), Code::Unauthenticated);
    Ok(())
}

#[tokio::test]
async fn a_session_ends_when_idle_and_at_its_absolute_end() -> Result<()> {
    let options =
        ServiceOptions::default().env("AUTH_SESSION_IDLE", "5s").env("AUTH_SESSION_ABSOLUTE", "10s");
    let rig = Rig::with(options).await?;
    let mut client = rig.client()?;
    let idle = rig.sign_in_admin().await?;
    let busy = rig.sign_in_admin().await?;
    let ends = busy.tokens.as_ref().and_then(|tokens| tokens.session_expires_at).context("no end")?;
    let mut token = refresh_token(&busy);
    let begun = tokio::time::Instant::now();
    until("the busy session ends", async || {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        match refresh(&mut client.clone(), &token).await {
            Ok(reply) => {
                let tokens = reply.tokens.clone().unwrap();
                assert_eq!(tokens.session_expires_at, Some(ends), "the end has moved");
                assert!(
                    tokens.access_expires_at.unwrap().seconds <= ends.seconds,
                    "a token outlives its session"
                );
                token = next(&reply);
                false
            }
            Err(status) => status.code() == Code::Unauthenticated,
        }
    })
    .await?;
    assert!(begun.elapsed().as_secs() >= 8, "it has ended after {:?}", begun.elapsed());
    assert_eq!(refresh(&mut client, &refresh_token(&idle)).await.unwrap_err().code(), Code::Unauthenticated);
    let refused = client.list_sessions(on_behalf(&idle, ListSessionsRequest {})?).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    // An expired session is not signed out, and causes no mail.
    let ended = client.sign_out(on_behalf(&idle, SignOutRequest::default())?).await?.into_inner().ended;
    assert_eq!(ended, 0);
    Ok(())
}

#[tokio::test]
async fn each_effective_sign_out_sends_one_mail() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let sessions: Vec<SignInResponse> = vec![
        rig.sign_in_admin_from("10.1.2.3").await?,
        rig.sign_in_admin().await?,
        rig.sign_in_admin().await?,
        rig.sign_in_admin().await?,
    ];

    let by_caller = on_behalf(&sessions[0], SignOutRequest::default())?;
    assert_eq!(client.sign_out(by_caller).await?.into_inner().ended, 1);
    let again = on_behalf(&sessions[0], SignOutRequest::default())?;
    assert_eq!(client.sign_out(again).await?.into_inner().ended, 0);
    // A client whose last refresh reply was lost has only the previous token.
    refresh(&mut client, &refresh_token(&sessions[1])).await?;
    let by_token = SignOutRequest { refresh_token: refresh_token(&sessions[1]), everywhere: false };
    assert_eq!(client.sign_out(by_token.clone()).await?.into_inner().ended, 1);
    assert_eq!(client.sign_out(by_token).await?.into_inner().ended, 0);
    let everywhere =
        on_behalf(&sessions[2], SignOutRequest { everywhere: true, ..SignOutRequest::default() })?;
    assert_eq!(client.sign_out(everywhere).await?.into_inner().ended, 2);

    until("three mails are sent", async || rig.mail.mails().len() == 3).await?;
    rig.until_metric("auth_outbox_waiting{recipient=\"mail\"} 0").await?;
    let mails = rig.mail.mails();
    assert_eq!(mails.len(), 3);
    for (mail, _) in &mails {
        assert_eq!((mail.template.as_str(), mail.to.as_str()), ("logout", ADMIN));
        let mut names: Vec<_> = mail.values.keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["address", "email", "everywhere", "first_name", "time"]);
    }
    assert!(mails.iter().any(|(mail, _)| mail.values["address"] == "10.1.2.3"));
    assert_eq!(mails.iter().filter(|(mail, _)| mail.values["everywhere"] == "true").count(), 1);
    until("the logger has an entry for each", async || {
        rig.logger.entries().iter().filter(|(entry, _)| entry.data.contains("logged out")).count() == 3
    })
    .await?;

    for nobody in [SignOutRequest::default(), SignOutRequest { refresh_token: "x".into(), everywhere: true }]
    {
        assert_eq!(client.sign_out(nobody).await.unwrap_err().code(), Code::Unauthenticated);
    }
    Ok(())
}

#[tokio::test]
async fn signing_out_everywhere_needs_an_open_session() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let (open, ended) = (rig.sign_in_admin().await?, rig.sign_in_admin().await?);
    client.sign_out(on_behalf(&ended, SignOutRequest::default())?).await?;
    let everywhere =
        |token: &SignInResponse| SignOutRequest { refresh_token: refresh_token(token), everywhere: true };
    for refused in [
        Request::new(everywhere(&open)),
        Request::new(everywhere(&ended)),
        on_behalf(&ended, everywhere(&ended))?,
    ] {
        assert_eq!(client.sign_out(refused).await.unwrap_err().code(), Code::Unauthenticated);
    }
    client.get_user(on_behalf(&open, GetUserRequest {})?).await.context("the open session was ended")?;
    assert_eq!(client.sign_out(on_behalf(&open, everywhere(&open))?).await?.into_inner().ended, 1);
    Ok(())
}

#[tokio::test]
async fn signing_out_with_a_replay_ends_the_session_and_warns() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let first = rig.sign_in_admin().await?;
    let second = refresh(&mut client, &refresh_token(&first)).await?;
    let third = refresh(&mut client, &next(&second)).await?;
    pass_grace_period(&rig).await?;
    let replay = SignOutRequest { refresh_token: refresh_token(&first), everywhere: false };
    assert_eq!(client.sign_out(replay).await?.into_inner().ended, 1);
    assert_eq!(refresh(&mut client, &next(&third)).await.unwrap_err().code(), Code::Unauthenticated);
    until("the logger is warned", async || rig.logger.entries().iter().any(|(entry, _)| entry.level == 4))
        .await
}

#[tokio::test]
async fn a_user_lists_and_ends_only_their_own_sessions() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    rig.user("ada@example.com").await?;
    let one = client.sign_in(sign_in_from("10.0.0.1", "ada@example.com", PASSWORD)).await?.into_inner();
    let two = client.sign_in(sign_in_from("10.0.0.2", "ada@example.com", PASSWORD)).await?.into_inner();
    let admin = rig.sign_in_admin().await?;
    let id = |reply: &SignInResponse| reply.tokens.as_ref().unwrap().session_id.clone();
    let list = async |client: &mut Client| -> Result<_> {
        Ok(client.list_sessions(on_behalf(&two, ListSessionsRequest {})?).await?.into_inner().sessions)
    };
    let sessions = list(&mut client).await?;
    assert_eq!(sessions.iter().map(|session| session.id.clone()).collect::<Vec<_>>(), [id(&two), id(&one)]);
    assert_eq!(sessions.iter().map(|session| session.current).collect::<Vec<_>>(), [true, false]);
    assert_eq!((sessions[1].client_address.as_str(), sessions[1].user_agent.as_str()), ("10.0.0.1", "test"));

    let revoke = |session_id: &str| RevokeSessionRequest { session_id: session_id.to_owned() };
    let foreign = client.revoke_session(on_behalf(&two, revoke(&id(&admin)))?).await.unwrap_err();
    assert_eq!(foreign.code(), Code::NotFound);
    let invalid = client.revoke_session(on_behalf(&two, revoke("x"))?).await.unwrap_err();
    assert_eq!(invalid.code(), Code::InvalidArgument);
    for _ in 0..2 {
        client.revoke_session(on_behalf(&two, revoke(&id(&one)))?).await?;
    }
    assert_eq!(list(&mut client).await?.len(), 1);
    let ended = refresh(&mut client, &refresh_token(&one)).await.unwrap_err();
    assert_eq!(ended.code(), Code::Unauthenticated);
    client.get_user(on_behalf(&admin, GetUserRequest {})?).await?;

    let nobody = client.list_sessions(Request::new(ListSessionsRequest {})).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated);
    let mut incomplete = Request::new(ListSessionsRequest {});
    incomplete.metadata_mut().insert("weft-user-id", "x".parse()?);
    assert_eq!(client.list_sessions(incomplete).await.unwrap_err().code(), Code::Unauthenticated);
    Ok(())
}

/// Simulates many failures, so that the wait is long enough to be observed on a busy machine.
const MANY_FAILURES: &str = "UPDATE sign_in_failures SET failures = failures + 25, last_at = now()";

#[tokio::test]
async fn a_password_change_ends_other_sessions_and_limits_wrong_passwords() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    rig.user("ada@example.com").await?;
    let this = client.sign_in(sign_in_from("10.0.0.1", "ada@example.com", PASSWORD)).await?.into_inner();
    let other = client.sign_in(sign_in_from("10.0.0.2", "ada@example.com", PASSWORD)).await?.into_inner();
    let change = |current: &str, new: &str| {
        let (current_password, new_password) = (current.to_owned(), new.to_owned());
        on_behalf(&this, ChangePasswordRequest { current_password, new_password })
    };
    let short = client.change_password(change(PASSWORD, "short")?).await.unwrap_err();
    assert_eq!(short.code(), Code::InvalidArgument);
    assert!(short.message().starts_with("new_password: "), "{short}");
    client.change_password(change(PASSWORD, "the next good password")?).await?;
    assert_eq!(refresh(&mut client, &refresh_token(&other)).await.unwrap_err().code(), Code::Unauthenticated);
    refresh(&mut client, &refresh_token(&this)).await?;
    let old = client.sign_in(sign_in_from("10.0.0.3", "ada@example.com", PASSWORD)).await.unwrap_err();
    assert_eq!(old.code(), Code::Unauthenticated);
    client.sign_in(sign_in_from("10.0.0.4", "ada@example.com", "the next good password")).await?;

    // A repeat of the change, whose reply may have been lost, succeeds and counts like a wrong password.
    client.change_password(change(PASSWORD, "the next good password")?).await?;
    sqlx::query(MANY_FAILURES).execute(&mut rig.database().await?).await?;
    let slowed = client.change_password(change(PASSWORD, "the next good password")?).await.unwrap_err();
    assert_eq!(slowed.code(), Code::ResourceExhausted);
    sqlx::query("DELETE FROM sign_in_failures").execute(&mut rig.database().await?).await?;

    let wrong = client.change_password(change(PASSWORD, "and one more password")?).await.unwrap_err();
    assert_eq!(wrong.code(), Code::PermissionDenied);
    sqlx::query(MANY_FAILURES).execute(&mut rig.database().await?).await?;
    let slowed = client.change_password(change(PASSWORD, "and one more password")?).await.unwrap_err();
    assert_eq!(slowed.code(), Code::ResourceExhausted);
    Ok(())
}
