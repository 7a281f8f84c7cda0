//! What admins may do: session and role as authentication knows them now.

use reqwest::Method;
use weft_devstack::ServiceOptions;

use crate::authentication::USER;
use crate::rig::Rig;

async fn asked(rig: &Rig, request: reqwest::RequestBuilder) -> (u16, u32) {
    let before = *rig.authentication.user_fetches.lock().unwrap();
    let status = rig.as_admin(request).await.status;
    (status, *rig.authentication.user_fetches.lock().unwrap() - before)
}

#[tokio::test]
async fn reading_relies_on_the_last_answer_and_a_change_asks_each_time() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let list = || rig.get("/v1/users");
    let deactivate = || rig.request(Method::POST, &format!("/v1/users/{USER}/deactivate"));
    assert_eq!(asked(&rig, list()).await, (200, 1));
    assert_eq!(asked(&rig, list()).await, (200, 0));
    assert_eq!(asked(&rig, deactivate()).await, (200, 1));
    assert_eq!(asked(&rig, deactivate()).await, (200, 1));
}

#[tokio::test]
async fn an_admin_whose_session_or_role_is_gone_changes_nothing() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let discard = || rig.request(Method::DELETE, &format!("/v1/dead-letters/listener.log/{USER}"));
    assert_eq!(rig.as_admin(rig.get("/v1/users")).await.status, 200);
    *rig.authentication.demoted.lock().unwrap() = true;
    rig.as_admin(discard()).await.is_problem(403, "only an admin");
    // The answer to a change counts for what is read after it.
    rig.as_admin(rig.get("/v1/users")).await.is_problem(403, "only an admin");
    *rig.authentication.session_over.lock().unwrap() = true;
    rig.as_admin(discard()).await.is_problem(401, "session has ended");
    rig.as_admin(rig.get("/v1/users")).await.is_problem(401, "session has ended");
    assert!(rig.entries.lock().unwrap().is_empty());
}

#[tokio::test]
async fn without_authentication_a_change_is_refused_and_reading_relies_on_the_last_answer() {
    let rig = Rig::start(ServiceOptions::default()).await;
    // Whatever else is away, the check itself passes.
    let listed = async || {
        let listed = rig.as_admin(rig.get("/v1/dead-letters")).await;
        assert!(![401, 403].contains(&listed.status), "{listed:?}");
        assert!(!listed.body.to_string().contains("authentication"), "{listed:?}");
    };
    listed().await;
    rig.take_authentication_away().await;
    listed().await;
    let discard = rig.request(Method::DELETE, &format!("/v1/dead-letters/listener.log/{USER}"));
    rig.as_admin(discard).await.is_problem(503, "authentication");
}
