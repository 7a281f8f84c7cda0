use reqwest::Method;
use serde_json::{Value, json};
use weft_devstack::ServiceOptions;

use crate::authentication::{EMAIL, PASSWORD, RESET_TOKEN, USER};
use crate::logger::{SEARCH_BUSY, SEARCH_HANGS};
use crate::rig::{Rig, reply};

const UNKNOWN_USER: &str = "0191d4b0-7d2a-7c3e-8f00-00000000000f";

#[tokio::test]
async fn only_admins_manage_users() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let new = json!({"email": "bob@example.com", "first_name": "Bob", "last_name": "B", "password": PASSWORD, "role": "user"});
    let deactivate = |id: &str| rig.request(Method::POST, &format!("/v1/users/{id}/deactivate"));
    for request in [rig.get("/v1/users"), rig.post("/v1/users", &new), deactivate(USER)] {
        rig.as_user(request).await.is_problem(403, "needs the role admin; yours is user");
    }
    let page = rig.as_admin(rig.get("/v1/users?limit=1")).await;
    assert_eq!((page.status, &page.body["next_cursor"]), (200, &json!("next")));
    assert_eq!(rig.as_admin(rig.get("/v1/users")).await.body["next_cursor"], json!(null));
    let create = |new: &Value| rig.post("/v1/users", new).header("idempotency-key", "bob");
    let created = rig.as_admin(create(&new)).await;
    assert_eq!(created.status, 201, "{created:?}");
    assert_eq!(rig.as_admin(create(&new)).await.body["id"], created.body["id"]);
    let mut other = new.clone();
    other["first_name"] = json!("Rob");
    rig.as_admin(create(&other)).await.is_problem(422, "Idempotency-Key: conflict");
    let mut taken = new.clone();
    taken["email"] = json!(EMAIL);
    rig.as_admin(rig.post("/v1/users", &taken)).await.is_problem(409, "another user");
    let gone = rig.as_admin(deactivate(USER)).await;
    assert_eq!((gone.status, &gone.body["active"]), (200, &json!(false)));
    rig.as_admin(deactivate(UNKNOWN_USER)).await.is_problem(404, "user not found");
    rig.as_admin(deactivate("x")).await.is_problem(400, "expected a UUID");
}

#[tokio::test]
async fn admins_change_reactivate_and_delete_users() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let path = |id: &str| format!("/v1/users/{id}");
    let patch = |id: &str, body: &Value| rig.request(Method::PATCH, &path(id)).json(body);
    let reactivate = |id: &str| rig.request(Method::POST, &format!("/v1/users/{id}/reactivate"));
    let delete = |id: &str| rig.request(Method::DELETE, &path(id));
    let change = json!({"role": "viewer", "first_name": "Grace"});
    for request in [patch(USER, &change), reactivate(USER), delete(USER)] {
        rig.as_viewer(request).await.is_problem(403, "needs the role admin; yours is viewer");
    }
    let changed = rig.as_admin(patch(USER, &change)).await;
    let shown = ["role", "first_name", "last_name"].map(|field| &changed.body[field]);
    assert_eq!((changed.status, shown), (200, [&json!("viewer"), &json!("Grace"), &json!("Lovelace")]));
    assert_eq!(rig.as_admin(patch(USER, &json!({}))).await.status, 200);
    rig.as_admin(patch(USER, &json!({"active": false}))).await.is_problem(400, "unknown field `active`");
    for (field, wrong) in [("role", json!("root")), ("first_name", json!("a\nb")), ("last_name", json!(7))] {
        rig.as_admin(patch(USER, &json!({ field: wrong }))).await.is_problem(400, field);
    }
    let back = rig.as_admin(reactivate(USER)).await;
    assert_eq!((back.status, &back.body["active"]), (200, &json!(true)));
    rig.as_admin(delete(USER)).await.is_problem(409, "last active admin");
    let new = json!({"email": "bob@example.com", "password": PASSWORD});
    let create = || rig.as_admin(rig.post("/v1/users", &new).header("idempotency-key", "bob"));
    let bob = create().await.body["id"].as_str().unwrap().to_owned();
    assert_eq!(rig.as_admin(delete(&bob)).await.status, 204);
    for request in [delete(&bob), patch(&bob, &change), reactivate(&bob)] {
        rig.as_admin(request).await.is_problem(404, "user not found");
    }
    create().await.is_problem(409, "was deleted; use a new key");
    for request in [delete("x"), patch("x", &change), reactivate("x")] {
        rig.as_admin(request).await.is_problem(400, "expected a UUID");
    }
}

#[tokio::test]
async fn rejects_an_invalid_user_and_names_the_field() {
    let rig = Rig::start(ServiceOptions::default()).await;
    for (field, value) in [
        ("email", json!("a@b.c\r\nBcc: x@y.z")),
        ("email", json!("x".repeat(10_000))),
        ("email", json!(null)),
        ("first_name", json!("a\nb")),
        ("last_name", json!("x".repeat(129))),
        ("password", json!("too short")),
        ("password", json!("x".repeat(1_000_000))),
        ("role", json!("root")),
    ] {
        let mut new =
            json!({"email": "bob@example.com", "first_name": "Bob", "last_name": "B", "password": PASSWORD});
        new[field] = value;
        rig.as_admin(rig.post("/v1/users", &new)).await.is_problem(400, field);
    }
    for query in ["limit=0", "limit=x", "colour=red", "limit=1&limit=2"] {
        let refused = rig.as_admin(rig.get(&format!("/v1/users?{query}"))).await;
        refused.is_problem(400, query.split('=').next().unwrap());
    }
}

#[tokio::test]
async fn changing_a_password_requires_the_current_one() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let change = |current: &str, new: &str| {
        rig.post("/v1/users/me/password", &json!({"current_password": current, "new_password": new}))
    };
    let new = "geese on a red roof 1912";
    assert_eq!(rig.as_user(change(PASSWORD, new)).await.status, 204);
    rig.as_user(change("wrong", new)).await.is_problem(403, "current password is wrong");
    rig.as_user(change(PASSWORD, "short"))
        .await
        .is_problem(400, "new_password: the password has fewer than 15");
    rig.as_user(change("", new)).await.is_problem(400, "current_password: the password is empty");
    reply(change(PASSWORD, new)).await.is_problem(401, "sign in first");
}

#[tokio::test]
async fn a_slow_search_is_504_and_a_refused_one_429() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let search = |text: &str| rig.as_viewer(rig.get(&format!("/v1/logs?text={text}")));
    search(SEARCH_HANGS).await.is_problem(504, "narrow it by time");
    let busy = search(SEARCH_BUSY).await;
    assert_eq!(busy.header("retry-after"), "1");
    busy.is_problem(429, "too many searches");
    let page = search("x").await;
    assert_eq!((page.status, &page.body["default_from"]), (200, &json!("1970-01-01T00:00:05Z")));
}

#[tokio::test]
async fn viewers_search_the_logs() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let log = json!({"action": "log", "log": {"name": "n", "data": "d"}});
    assert_eq!(reply(rig.post("/handle", &log)).await.status, 202);
    assert_eq!(reply(rig.post("/log-grpc", &log)).await.body["message"], "logged");
    let page = rig.as_viewer(rig.get("/v1/logs?limit=5")).await;
    assert_eq!((page.status, page.body["items"].as_array().unwrap().len()), (200, 2));
    assert_eq!(page.header("cache-control"), "no-store");
    assert_eq!(page.body["default_from"], json!(null));
    rig.as_viewer(rig.get("/v1/logs?trace_id=x")).await.is_problem(400, "trace_id");
    rig.stop_logger().await;
    rig.as_viewer(rig.get("/v1/logs")).await.is_problem(503, "logger");
}

#[tokio::test]
async fn resets_a_forgotten_password_by_mail() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let forgot = |email: &str| reply(rig.post("/v1/password/forgot", &json!({ "email": email })));
    for email in [EMAIL, "nobody@example.com"] {
        let asked = forgot(email).await;
        assert_eq!((asked.status, &asked.body), (202, &Value::Null), "{asked:?}");
    }
    let asked: Vec<_> = rig.authentication.resets.lock().unwrap().clone();
    assert_eq!(asked.iter().map(|asked| &*asked.email).collect::<Vec<_>>(), [EMAIL, "nobody@example.com"]);
    assert!(asked.iter().all(|asked| asked.client_address == "127.0.0.1"));
    forgot("limited@example.com").await.is_problem(429, "too many attempts");
    for email in ["", "me", "me@example.com*"] {
        forgot(email).await.is_problem(400, "email: invalid email address");
    }

    let set = |token: &str, password: &str| {
        reply(rig.post("/v1/password/reset", &json!({ "token": token, "new_password": password })))
    };
    assert_eq!(set(RESET_TOKEN, PASSWORD).await.status, 204);
    set("another", PASSWORD).await.is_problem(404, "not valid");
    set("", PASSWORD).await.is_problem(400, "token: ");
    set(RESET_TOKEN, "short").await.is_problem(400, "new_password: the password has fewer than 15");
    let log = std::fs::read_to_string(rig.broker.log_file()).unwrap();
    assert!(!log.contains(RESET_TOKEN), "{log}");

    let start = |id: &str| rig.request(Method::POST, &format!("/v1/users/{id}/password-reset"));
    assert_eq!(rig.as_admin(start(USER)).await.status, 202);
    rig.as_viewer(start(USER)).await.is_problem(403, "needs the role admin");
    rig.as_admin(start(UNKNOWN_USER)).await.is_problem(404, "user not found");
    rig.stop_authentication().await;
    forgot(EMAIL).await.is_problem(503, "authentication");
}
