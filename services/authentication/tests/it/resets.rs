use anyhow::{Context as _, Result};
use tonic::Code;
use tonic::transport::Endpoint;
use weft_devstack::ServiceOptions;
use weft_proto::weft::auth::v1::{
    ChangePasswordRequest, DeactivateUserRequest, GetUserRequest, RefreshRequest,
    RequestPasswordResetRequest, ResetPasswordRequest, StartPasswordResetRequest,
};
use weft_proto::weft::deadletter::v1::dead_letter_service_client::DeadLetterServiceClient;
use weft_proto::weft::deadletter::v1::{GetRequest, ListRequest};

use crate::helpers::{
    ADMIN, PASSWORD, Rig, new_user, on_behalf, refresh_token, retry_after, sign_in, sign_in_from, until,
};

const CONSOLE: &str = "https://shop.example.com";
const ADA: &str = "ada@example.com";
const NEW: &str = "quite another password";

async fn with_console() -> Result<Rig> {
    Rig::with(ServiceOptions::default().env("AUTH_CONSOLE_URL", CONSOLE)).await
}

fn ask(email: &str, client_address: &str) -> RequestPasswordResetRequest {
    RequestPasswordResetRequest { email: email.to_owned(), client_address: client_address.to_owned() }
}

fn reset(token: &str, new_password: &str) -> ResetPasswordRequest {
    ResetPasswordRequest { token: token.to_owned(), new_password: new_password.to_owned() }
}

/// The tokens of all reset mails, oldest first.
fn tokens(rig: &Rig) -> Result<Vec<String>> {
    let links = rig.mail.mails().into_iter().filter(|(mail, _)| mail.template == "password-reset");
    let token = |link: &str| {
        let token = link.strip_prefix(&format!("{CONSOLE}/account/reset-password#"));
        token.map(ToOwned::to_owned).with_context(|| format!("not a reset link: {link}"))
    };
    links.map(|(mail, _)| token(&mail.values["link"])).collect()
}

async fn mailed(rig: &Rig, count: usize) -> Result<String> {
    until("the reset mail is sent", async || tokens(rig).is_ok_and(|tokens| tokens.len() >= count)).await?;
    tokens(rig)?.pop().context("no mail")
}

async fn outbox_is_empty(rig: &Rig) -> Result<()> {
    let mut database = rig.database().await?;
    until("the outbox is empty", async || {
        let left = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM outbox").fetch_one(&mut database).await;
        left.is_ok_and(|left| left == 0)
    })
    .await
}

async fn reset_code(rig: &Rig, request: ResetPasswordRequest) -> Result<Code> {
    Ok(rig.client()?.reset_password(request).await.map_or_else(|status| status.code(), |_| Code::Ok))
}

#[tokio::test]
async fn a_link_sets_a_new_password_once_and_ends_all_sessions() -> Result<()> {
    let rig = with_console().await?;
    let mut client = rig.client()?;
    rig.user(ADA).await?;
    let ada = client.sign_in(sign_in(ADA, PASSWORD)).await?.into_inner();
    client.request_password_reset(ask("ADA@example.com", "10.0.0.1")).await?;
    let token = mailed(&rig, 1).await?;
    assert_eq!(rig.mail.mails()[0].0.to, ADA);
    assert_eq!(reset_code(&rig, reset(&token, "short")).await?, Code::InvalidArgument);
    client.reset_password(reset(&token, NEW)).await?;
    let refresh = RefreshRequest { refresh_token: refresh_token(&ada) };
    assert_eq!(client.refresh(refresh).await.unwrap_err().code(), Code::Unauthenticated);
    let over = client.get_user(on_behalf(&ada, GetUserRequest {})?).await.unwrap_err();
    assert_eq!(over.code(), Code::Unauthenticated);
    let old = client.sign_in(sign_in_from("10.0.0.2", ADA, PASSWORD)).await.unwrap_err();
    assert_eq!(old.code(), Code::Unauthenticated);
    client.sign_in(sign_in_from("10.0.0.3", ADA, NEW)).await?;
    assert_eq!(reset_code(&rig, reset(&token, "and yet another password")).await?, Code::NotFound);
    until("the logger has the entry", async || {
        rig.logger.has_entry("ada@example.com set a new password by a reset link")
    })
    .await?;
    client.sign_in(sign_in_from("10.0.0.3", ADA, NEW)).await.map(drop).map_err(Into::into)
}

#[tokio::test]
async fn a_reset_may_be_repeated_and_the_repeat_counts_as_a_guess() -> Result<()> {
    let rig = with_console().await?;
    let mut client = rig.client()?;
    rig.user(ADA).await?;
    client.request_password_reset(ask(ADA, "10.0.0.1")).await?;
    let token = mailed(&rig, 1).await?;
    let repeats = [0, 1].map(|_| {
        let (mut client, request) = (client.clone(), reset(&token, NEW));
        tokio::spawn(async move { client.reset_password(request).await })
    });
    for repeat in repeats {
        repeat.await??;
    }
    sqlx::query("UPDATE sign_in_failures SET failures = 25, last_at = now()")
        .execute(&mut rig.database().await?)
        .await?;
    let slowed = client.reset_password(reset(&token, NEW)).await.unwrap_err();
    assert_eq!(slowed.code(), Code::ResourceExhausted, "{slowed}");
    Ok(())
}

#[tokio::test]
async fn unknown_and_inactive_users_get_the_same_response_and_no_mail() -> Result<()> {
    let rig = with_console().await?;
    let mut client = rig.client()?;
    let admin = rig.sign_in_admin().await?;
    let ada = rig.user(ADA).await?;
    client.deactivate_user(on_behalf(&admin, DeactivateUserRequest { user_id: ada.id })?).await?;
    outbox_is_empty(&rig).await?;
    // Records the letters of the requests, so that they can be compared.
    let mut database = rig.database().await?;
    sqlx::query("CREATE TABLE seen AS SELECT * FROM outbox").execute(&mut database).await?;
    sqlx::query("CREATE RULE seen AS ON INSERT TO outbox DO ALSO INSERT INTO seen SELECT NEW.*")
        .execute(&mut database)
        .await?;
    for email in [ADA, "nobody@example.com", ADMIN] {
        client.request_password_reset(ask(email, "10.0.0.1")).await?;
    }
    mailed(&rig, 1).await?;
    outbox_is_empty(&rig).await?;
    assert_eq!(rig.mail.mails().iter().map(|(mail, _)| &*mail.to).collect::<Vec<_>>(), [ADMIN]);
    let kinds: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT recipient, payload->>'template', payload->>'values' FROM seen ORDER BY created_at",
    )
    .fetch_all(&mut database)
    .await?;
    assert_eq!(kinds, vec![("mail".to_owned(), "password-reset".to_owned(), "{}".to_owned()); 3]);
    Ok(())
}

#[tokio::test]
async fn a_token_exists_only_in_the_mail() -> Result<()> {
    let options = ServiceOptions::default().env("AUTH_CONSOLE_URL", CONSOLE).env("WEFT_LOG", "trace");
    let rig = Rig::with(options).await?;
    let mut client = rig.client()?;
    rig.mail.fail_with(Some(Code::FailedPrecondition));
    client.request_password_reset(ask(ADMIN, "10.0.0.1")).await?;
    rig.until_metric("auth_outbox_failed{recipient=\"mail\"} 1").await?;
    let admin = rig.sign_in_admin().await?;
    let address = format!("http://{}", rig.authentication.grpc_address());
    let mut letters = DeadLetterServiceClient::new(Endpoint::from_shared(address)?.connect_lazy());
    let listed = letters.list(on_behalf(&admin, ListRequest::default())?).await?.into_inner().items;
    let get = on_behalf(&admin, GetRequest { id: listed[0].id.clone() })?;
    let body: serde_json::Value =
        serde_json::from_slice(&letters.get(get).await?.into_inner().content.context("no content")?.body)?;
    assert_eq!((&body["template"], &body["values"]), (&"password-reset".into(), &serde_json::json!({})));

    // A replayed letter gets a new link.
    rig.mail.fail_with(None);
    let replay = weft_proto::weft::deadletter::v1::ReplayRequest { id: listed[0].id.clone() };
    letters.replay(on_behalf(&admin, replay)?).await?;
    let token = mailed(&rig, 1).await?;
    let hashes: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT hash FROM password_resets").fetch_all(&mut rig.database().await?).await?;
    assert!(hashes.iter().all(|hash| hash.len() == 32 && hash.as_slice() != token.as_bytes()));
    client.reset_password(reset(&token, NEW)).await?;
    let log = std::fs::read_to_string(rig.authentication.log_file())?;
    assert!(log.contains("FailedPrecondition") && !log.contains(&token), "{log}");
    Ok(())
}

#[tokio::test]
async fn repeats_a_mail_of_unknown_outcome_with_the_same_link() -> Result<()> {
    let rig = with_console().await?;
    let mut client = rig.client()?;
    rig.mail.fail_with(Some(Code::Unknown));
    client.request_password_reset(ask(ADMIN, "10.0.0.1")).await?;
    rig.until_metric("auth_outbox_deliveries_total{recipient=\"mail\",result=\"unknown\"} 1").await?;
    rig.mail.fail_with(None);
    sqlx::query("UPDATE outbox SET due_at = created_at").execute(&mut rig.database().await?).await?;
    until("the mail is repeated", async || rig.mail.copies() == 2).await?;
    let [first, second] = &rig.mail.requests()[..] else { anyhow::bail!("not two mails") };
    assert_eq!(first, second);
    client.reset_password(reset(&mailed(&rig, 1).await?, NEW)).await?;
    Ok(())
}

#[tokio::test]
async fn limits_mails_by_network_and_by_address() -> Result<()> {
    let options =
        ServiceOptions::default().env("AUTH_CONSOLE_URL", CONSOLE).env("AUTH_SIGN_IN_PER_MINUTE", "3");
    let rig = Rig::with(options).await?;
    let mut client = rig.client()?;
    for email in ["a@example.com", "b@example.com", ADMIN] {
        client.request_password_reset(ask(email, "10.0.0.1")).await?;
    }
    for _ in 0..3 {
        let limited = client.request_password_reset(ask("c@example.com", "10.0.0.1")).await.unwrap_err();
        assert_eq!(limited.code(), Code::ResourceExhausted);
    }
    let limited = client.request_password_reset(ask("d@example.com", "10.0.0.1")).await.unwrap_err();
    assert!(retry_after(&limited).is_some_and(|wait| (1..=20).contains(&wait)), "{limited:?}");
    for (email, network) in [("nobody@example.com", 1), (&*ADMIN.to_uppercase(), 2)] {
        let before = usize::from(network == 2);
        for host in before..3 {
            client.request_password_reset(ask(email, &format!("10.{network}.0.{host}"))).await?;
        }
        let limited =
            client.request_password_reset(ask(email, &format!("10.{network}.0.9"))).await.unwrap_err();
        assert_eq!(limited.code(), Code::ResourceExhausted, "{email}");
        assert!(retry_after(&limited).is_some_and(|wait| (60..=1_200).contains(&wait)), "{limited:?}");
    }
    // What the limit of the network refused did not use up the limit of the address.
    client.request_password_reset(ask("c@example.com", "10.3.0.1")).await?;
    // The limit of sign-ins is separate.
    client.sign_in(sign_in_from("10.0.0.1", ADMIN, PASSWORD)).await?;
    Ok(())
}

#[tokio::test]
async fn rejects_an_expired_link_and_one_older_than_the_password() -> Result<()> {
    let rig = with_console().await?;
    let mut client = rig.client()?;
    rig.user(ADA).await?;
    let ada = client.sign_in(sign_in(ADA, PASSWORD)).await?.into_inner();
    client.request_password_reset(ask(ADA, "10.0.0.1")).await?;
    let token = mailed(&rig, 1).await?;
    let mut database = rig.database().await?;
    let life = "SELECT extract(epoch FROM max(expires_at) - now())::float8 FROM password_resets";
    let life: f64 = sqlx::query_scalar(life).fetch_one(&mut database).await?;
    assert!(life <= 1_800.0 && life > 1_500.0, "{life}");
    sqlx::query("UPDATE password_resets SET expires_at = now()").execute(&mut database).await?;
    assert_eq!(reset_code(&rig, reset(&token, NEW)).await?, Code::NotFound);

    client.request_password_reset(ask(ADA, "10.0.0.1")).await?;
    let token = mailed(&rig, 2).await?;
    let (current_password, new_password) = (PASSWORD.to_owned(), NEW.to_owned());
    let change = ChangePasswordRequest { current_password, new_password };
    client.change_password(on_behalf(&ada, change)?).await?;
    assert_eq!(reset_code(&rig, reset(&token, "and yet another password")).await?, Code::NotFound);
    for invalid in ["", "x", &"A".repeat(43), &"A".repeat(1 << 20)] {
        assert_eq!(reset_code(&rig, reset(invalid, NEW)).await?, Code::NotFound);
    }
    Ok(())
}

#[tokio::test]
async fn gives_up_a_mail_after_half_an_hour() -> Result<()> {
    let rig = with_console().await?;
    rig.mail.fail_with(Some(Code::Unavailable));
    rig.client()?.request_password_reset(ask(ADMIN, "10.0.0.1")).await?;
    let aged =
        "UPDATE outbox SET created_at = now() - interval '31 minutes', due_at = now(), leased_until = NULL";
    sqlx::query(aged).execute(&mut rig.database().await?).await?;
    rig.until_metric("auth_outbox_failed{recipient=\"mail\"} 1").await?;
    assert!(rig.mail.mails().is_empty());
    Ok(())
}

#[tokio::test]
async fn an_admin_starts_a_reset_for_an_active_user() -> Result<()> {
    let rig = with_console().await?;
    let mut client = rig.client()?;
    let ada = rig.user(ADA).await?;
    let admin = rig.sign_in_admin().await?;
    let start = |user_id: &str| StartPasswordResetRequest { user_id: user_id.to_owned() };
    client.start_password_reset(on_behalf(&admin, start(&ada.id))?).await?;
    let token = mailed(&rig, 1).await?;
    client.reset_password(reset(&token, NEW)).await?;
    let user = client.sign_in(sign_in(ADA, NEW)).await?.into_inner();
    let refused = client.start_password_reset(on_behalf(&user, start(&ada.id))?).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let unknown = start(&uuid::Uuid::new_v4().to_string());
    let unknown = client.start_password_reset(on_behalf(&admin, unknown)?).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    for _ in 0..2 {
        client.start_password_reset(on_behalf(&admin, start(&ada.id))?).await?;
    }
    let limited = client.start_password_reset(on_behalf(&admin, start(&ada.id))?).await.unwrap_err();
    assert_eq!(limited.code(), Code::ResourceExhausted);
    client.deactivate_user(on_behalf(&admin, DeactivateUserRequest { user_id: ada.id.clone() })?).await?;
    let inactive = client.start_password_reset(on_behalf(&admin, start(&ada.id))?).await.unwrap_err();
    assert_eq!(inactive.code(), Code::FailedPrecondition);
    Ok(())
}

#[tokio::test]
async fn refuses_resets_without_a_console_url() -> Result<()> {
    let rig = Rig::start().await?;
    let mut client = rig.client()?;
    let admin = rig.sign_in_admin().await?;
    client.create_user(on_behalf(&admin, new_user(ADA))?).await?;
    for email in [ADA, "nobody@example.com"] {
        let refused = client.request_password_reset(ask(email, "10.0.0.1")).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains("AUTH_CONSOLE_URL"), "{refused}");
    }
    Ok(())
}
