//! Checks of the session and role of viewers and admins with authentication.

use reqwest::Method;
use weft_devstack::ServiceOptions;

use crate::authentication::USER;
use crate::rig::Rig;

async fn status_and_checks(rig: &Rig, request: reqwest::RequestBuilder) -> (u16, u32) {
    let before = *rig.authentication.user_fetches.lock().unwrap();
    let status = rig.as_admin(request).await.status;
    (status, *rig.authentication.user_fetches.lock().unwrap() - before)
}

#[tokio::test]
async fn reads_use_the_cached_answer_and_changes_ask_each_time() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let list = || rig.get("/v1/users");
    let deactivate = || rig.request(Method::POST, &format!("/v1/users/{USER}/deactivate"));
    assert_eq!(status_and_checks(&rig, list()).await, (200, 1));
    assert_eq!(status_and_checks(&rig, list()).await, (200, 0));
    assert_eq!(status_and_checks(&rig, deactivate()).await, (200, 1));
    assert_eq!(status_and_checks(&rig, deactivate()).await, (200, 1));
}

#[tokio::test]
async fn an_admin_without_session_or_role_changes_nothing() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let discard = || rig.request(Method::DELETE, &format!("/v1/dead-letters/listener.log/{USER}"));
    assert_eq!(rig.as_admin(rig.get("/v1/users")).await.status, 200);
    *rig.authentication.demoted.lock().unwrap() = true;
    rig.as_admin(discard()).await.is_problem(403, "needs the role admin; yours is user");
    // The answer for a change is also used by later reads.
    rig.as_admin(rig.get("/v1/users")).await.is_problem(403, "needs the role admin; yours is user");
    *rig.authentication.session_over.lock().unwrap() = true;
    rig.as_admin(discard()).await.is_problem(401, "session has ended");
    rig.as_admin(rig.get("/v1/users")).await.is_problem(401, "session has ended");
    assert!(rig.entries.lock().unwrap().is_empty());
}

#[tokio::test]
async fn without_authentication_changes_fail_and_reads_use_the_cached_answer() {
    let rig = Rig::start(ServiceOptions::default()).await;
    // The check passes, although the request itself may fail.
    let listed = async || {
        let listed = rig.as_admin(rig.get("/v1/dead-letters")).await;
        assert!(![401, 403].contains(&listed.status), "{listed:?}");
        assert!(!listed.body.to_string().contains("authentication"), "{listed:?}");
    };
    listed().await;
    rig.stop_authentication().await;
    listed().await;
    let discard = rig.request(Method::DELETE, &format!("/v1/dead-letters/listener.log/{USER}"));
    rig.as_admin(discard).await.is_problem(503, "authentication");
}

/// Paths that viewers may read: logs, a trace, and dead letters without bodies.
const VIEWER_PATHS: [&str; 4] = [
    "/v1/logs",
    "/v1/traces/0af7651916cd43dd8448eb211c80319c",
    "/v1/dead-letters",
    "/v1/dead-letters?queue=outbox",
];

#[tokio::test]
async fn logs_traces_and_dead_letters_require_a_viewer() {
    let rig = Rig::start(ServiceOptions::default()).await;
    for path in VIEWER_PATHS {
        rig.as_user(rig.get(path)).await.is_problem(403, "needs the role viewer or admin; yours is user");
        for granted in [rig.as_viewer(rig.get(path)).await, rig.as_admin(rig.get(path)).await] {
            assert!(![401, 403].contains(&granted.status), "{path}: {granted:?}");
        }
    }
}

#[tokio::test]
async fn viewers_change_nothing_and_read_no_bodies() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let letter = format!("/v1/dead-letters/listener.log/{USER}");
    for (method, path) in [
        (Method::GET, letter.clone()),
        (Method::DELETE, letter.clone()),
        (Method::POST, format!("{letter}/replay")),
        (Method::POST, "/v1/dead-letters/replay?queue=listener.log".to_owned()),
        (Method::DELETE, "/v1/dead-letters?queue=listener.log".to_owned()),
        (Method::GET, "/v1/users".to_owned()),
        (Method::POST, format!("/v1/users/{USER}/deactivate")),
    ] {
        let refused = rig.as_viewer(rig.request(method, &path)).await;
        refused.is_problem(403, "needs the role admin; yours is viewer");
    }
    assert!(rig.entries.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_viewer_without_session_or_role_reads_nothing() {
    for (gone, status) in [("role", 403), ("session", 401)] {
        let rig = Rig::start(ServiceOptions::default()).await;
        match gone {
            "role" => *rig.authentication.demoted.lock().unwrap() = true,
            _ => *rig.authentication.session_over.lock().unwrap() = true,
        }
        for path in VIEWER_PATHS {
            assert_eq!(rig.as_viewer(rig.get(path)).await.status, status, "{path} without its {gone}");
        }
    }
}

#[tokio::test]
async fn without_authentication_and_cached_answer_reads_fail() {
    let rig = Rig::start(ServiceOptions::default()).await;
    // The broker has the keys, but has never asked about this session.
    assert_eq!(rig.as_user(rig.get("/v1/users/me")).await.status, 200);
    rig.stop_authentication().await;
    for path in VIEWER_PATHS {
        rig.as_viewer(rig.get(path)).await.is_problem(503, "authentication");
    }
}
