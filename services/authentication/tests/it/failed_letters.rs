use anyhow::{Context as _, Result};
use tokio::task::JoinSet;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use weft_proto::weft::auth::v1::{CreateUserRequest, Role, SignInResponse, SignOutRequest};
use weft_proto::weft::deadletter::v1::dead_letter_service_client::DeadLetterServiceClient;
use weft_proto::weft::deadletter::v1::{
    Filter, GetRequest, Letter, ListRequest, RemoveRequest, ReplayRequest,
};

use crate::helpers::{PASSWORD, Rig, new_user, on_behalf, sign_in, until};

type Letters = DeadLetterServiceClient<Channel>;

fn letters(rig: &Rig) -> Result<Letters> {
    let address = format!("http://{}", rig.authentication.grpc_address());
    Ok(DeadLetterServiceClient::new(Endpoint::from_shared(address)?.connect_lazy()))
}

/// Every letter that matches, two to a page.
async fn all(rig: &Rig, admin: &SignInResponse, filter: Filter) -> Result<Vec<Letter>> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let request = ListRequest { filter: Some(filter.clone()), limit: 2, cursor };
        let page = letters(rig)?.list(on_behalf(admin, request)?).await?.into_inner();
        assert!(page.items.len() <= 2);
        all.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_empty() {
            return Ok(all);
        }
    }
}

/// Signs out `count` times while mail fails permanently.
async fn make_failed_letters(rig: &Rig, count: usize) -> Result<SignInResponse> {
    rig.mail.fail_with(Some(Code::FailedPrecondition));
    for _ in 0..count {
        let signed_in = rig.sign_in_admin().await?;
        rig.client()?.sign_out(on_behalf(&signed_in, SignOutRequest::default())?).await?;
    }
    rig.until_metric(&format!("auth_outbox_failed{{recipient=\"mail\"}} {count}")).await?;
    rig.sign_in_admin().await
}

#[tokio::test]
async fn lists_shows_replays_and_discards_failed_letters() -> Result<()> {
    let rig = Rig::start().await?;
    let admin = make_failed_letters(&rig, 5).await?;
    let listed = all(&rig, &admin, Filter::default()).await?;
    assert_eq!(listed.len(), 5);
    assert!(listed.is_sorted_by_key(|letter| letter.dead_at.map(|at| (at.seconds, at.nanos))));
    let of_mail =
        Filter { r#type: "mail".into(), reason: "FailedPrecondition: set".into(), ..Filter::default() };
    assert_eq!(all(&rig, &admin, of_mail).await?, listed);
    let of_logger = Filter { r#type: "logger".into(), ..Filter::default() };
    assert!(all(&rig, &admin, of_logger).await?.is_empty());
    let before = Filter { to: listed[2].dead_at, ..Filter::default() };
    assert_eq!(all(&rig, &admin, before).await?, listed[..2]);

    let first = &listed[0];
    assert_eq!((first.queue.as_str(), first.trace_id.len(), first.attempts), ("outbox", 32, 1));
    let get = on_behalf(&admin, GetRequest { id: first.id.clone() })?;
    let shown = letters(&rig)?.get(get).await?.into_inner();
    assert_eq!(shown.letter.as_ref(), Some(first));
    let body: serde_json::Value = serde_json::from_slice(&shown.content.context("no content")?.body)?;
    assert_eq!(body["template"], "logout");

    rig.mail.fail_with(None);
    letters(&rig)?.replay(on_behalf(&admin, ReplayRequest { id: first.id.clone() })?).await?;
    until("the mail is sent", async || rig.mail.mails().len() == 1).await?;
    let ids = vec![listed[1].id.clone(), first.id.clone()];
    let removed = letters(&rig)?.remove(on_behalf(&admin, RemoveRequest { ids })?).await?.into_inner();
    assert_eq!(removed.removed, 1, "a delivered letter is no longer failed");
    assert_eq!(all(&rig, &admin, Filter::default()).await?, listed[2..]);
    Ok(())
}

#[tokio::test]
async fn parallel_replays_deliver_a_letter_once() -> Result<()> {
    let rig = Rig::start().await?;
    let admin = make_failed_letters(&rig, 5).await?;
    let listed = all(&rig, &admin, Filter::default()).await?;
    rig.mail.fail_with(None);
    for letter in &listed {
        let mut replays = JoinSet::new();
        for _ in 0..20 {
            let request = on_behalf(&admin, ReplayRequest { id: letter.id.clone() })?;
            let mut client = letters(&rig)?;
            replays.spawn(async move { client.replay(request).await });
        }
        let replays = replays.join_all().await;
        assert!(replays.iter().any(Result::is_ok));
        for status in replays.into_iter().filter_map(Result::err) {
            assert_eq!(status.code(), Code::NotFound, "{status}");
        }
    }
    until("all mails are sent", async || rig.mail.mails().len() >= listed.len()).await?;
    rig.until_metric("auth_outbox_waiting{recipient=\"mail\"} 0").await?;
    assert_eq!(rig.mail.mails().len(), listed.len());
    assert!(all(&rig, &admin, Filter::default()).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_viewer_can_only_list_failed_letters() -> Result<()> {
    let rig = Rig::start().await?;
    let admin = make_failed_letters(&rig, 1).await?;
    let listed = all(&rig, &admin, Filter::default()).await?;
    let viewer = CreateUserRequest { role: Role::Viewer.into(), ..new_user("viewer@example.com") };
    let created = rig.client()?.create_user(on_behalf(&admin, viewer)?).await?.into_inner();
    assert_eq!(created.user.context("no user")?.role(), Role::Viewer);
    let viewer = rig.client()?.sign_in(sign_in("viewer@example.com", PASSWORD)).await?.into_inner();
    assert_eq!(all(&rig, &viewer, Filter::default()).await?, listed);
    let (id, mut client) = (listed[0].id.clone(), letters(&rig)?);
    let get = client.get(on_behalf(&viewer, GetRequest { id: id.clone() })?).await.unwrap_err();
    let replay = client.replay(on_behalf(&viewer, ReplayRequest { id: id.clone() })?).await.unwrap_err();
    let remove = client.remove(on_behalf(&viewer, RemoveRequest { ids: vec![id] })?).await.unwrap_err();
    for status in [get, replay, remove] {
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    }
    Ok(())
}

#[tokio::test]
async fn a_user_has_no_access_to_failed_letters() -> Result<()> {
    let rig = Rig::start().await?;
    let admin = make_failed_letters(&rig, 1).await?;
    let letter = all(&rig, &admin, Filter::default()).await?.remove(0);
    rig.user("user@example.com").await?;
    let user = rig.client()?.sign_in(sign_in("user@example.com", PASSWORD)).await?.into_inner();
    let mut client = letters(&rig)?;
    let list = client.list(on_behalf(&user, ListRequest::default())?).await.unwrap_err();
    let get = client.get(on_behalf(&user, GetRequest { id: letter.id.clone() })?).await.unwrap_err();
    let replay = client.replay(on_behalf(&user, ReplayRequest { id: letter.id.clone() })?).await.unwrap_err();
    let remove = on_behalf(&user, RemoveRequest { ids: vec![letter.id.clone()] })?;
    let remove = client.remove(remove).await.unwrap_err();
    for status in [list, get, replay, remove] {
        assert_eq!(status.code(), Code::PermissionDenied);
    }
    assert_eq!(client.list(ListRequest::default()).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(all(&rig, &admin, Filter::default()).await?, [letter]);
    Ok(())
}
