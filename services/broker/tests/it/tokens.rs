use std::time::Duration;

use serde_json::{Value, json};
use weft_devstack::ServiceOptions;
use weft_runtime::clock::{Clock as _, SystemClock};

use crate::authentication::forged;
use crate::helpers::unreachable_services;
use crate::rig::{Reply, Rig, reply};

async fn with(rig: &Rig, token: &str) -> Reply {
    reply(rig.get("/v1/users/me").bearer_auth(token)).await
}

#[tokio::test]
async fn every_invalid_token_is_401_with_the_same_message() {
    let rig = Rig::start(ServiceOptions::default()).await;
    assert_eq!(with(&rig, &forged(1, |_, _| {})).await.status, 200);
    let now = SystemClock.now().as_second();
    let claim = |name: &'static str, value: Value| forged(1, move |_, claims| claims[name] = value);
    let head = |name: &'static str, value: Value| forged(1, move |header, _| header[name] = value);
    let unsigned = {
        let token = head("alg", json!("none"));
        let (message, _) = token.rsplit_once('.').unwrap();
        format!("{message}.")
    };
    let of_another_key = forged(2, |header, _| header["kid"] = json!("key-1"));
    let mut details = Vec::new();
    for (what, token) in [
        ("expired", claim("exp", json!(now - 6))),
        ("not valid yet", claim("nbf", json!(now + 30))),
        ("from another Stack", claim("iss", json!("weft:other/one"))),
        ("for another audience", claim("aud", json!("other"))),
        ("of another type", head("typ", json!("JWT"))),
        ("of a symmetric algorithm", head("alg", json!("HS256"))),
        ("of no algorithm", unsigned),
        ("of another key", of_another_key),
        ("of an unknown key", forged(3, |_, _| {})),
        ("rubbish", "abc".to_owned()),
    ] {
        let refused = with(&rig, &token).await;
        refused.is_problem(401, "invalid access token");
        assert_eq!(refused.header("www-authenticate"), "Bearer error=\"invalid_token\"", "{what}");
        details.push(refused.body["detail"].clone());
    }
    details.dedup();
    assert_eq!(details.len(), 1, "{details:?}");
}

#[tokio::test]
async fn v1_requires_a_token() {
    let rig = Rig::start(ServiceOptions::default()).await;
    for path in ["/v1/users/me", "/v1/sessions", "/v1/users", "/v1/logs", "/v1/dead-letters", "/v1/traces/x"]
    {
        let refused = reply(rig.get(path)).await;
        refused.is_problem(401, "sign in first");
        assert_eq!(refused.header("www-authenticate"), "Bearer");
    }
    reply(rig.post("/v1/events", &json!({}))).await.is_problem(401, "sign in first");
}

#[tokio::test]
async fn fetches_new_keys_and_keeps_them_without_authentication() {
    let rig = Rig::start(ServiceOptions::default()).await;
    assert_eq!(with(&rig, &forged(1, |_, _| {})).await.status, 200);
    rig.authentication.seeds.lock().unwrap().push(2);
    // Two fetches are at least a second apart.
    let until = tokio::time::Instant::now() + Duration::from_secs(120);
    while with(&rig, &forged(2, |_, _| {})).await.status != 200 {
        assert!(tokio::time::Instant::now() < until, "the new key was never fetched");
    }
    let fetches = *rig.authentication.key_fetches.lock().unwrap();
    assert!(fetches < 10, "{fetches} fetches");
    rig.stop_authentication().await;
    // The token is verified without authentication; only the reply needs it.
    let refused = with(&rig, &forged(2, |_, _| {})).await;
    refused.is_problem(503, "authentication can't be reached");
    assert_eq!(refused.header("retry-after"), "1");
    let log = json!({"action": "log", "log": {"name": "n", "data": ""}});
    assert_eq!(reply(rig.post("/handle", &log).bearer_auth(forged(2, |_, _| {}))).await.status, 202);
}

#[tokio::test]
async fn tokens_are_503_until_keys_were_fetched() {
    let rig = Rig::start(unreachable_services()).await;
    with(&rig, &forged(1, |_, _| {})).await.is_problem(503, "can't be checked");
    reply(rig.get("/.well-known/jwks.json")).await.is_problem(503, "authentication");
}

#[tokio::test]
async fn concurrent_requests_share_one_fetch_of_the_keys() {
    // Accepts connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = format!("authentication={0},logger={0}", silent.local_addr().unwrap());
    let rig = Rig::start(ServiceOptions::default().env("WEFT_MESH_ADDRESSES", addresses)).await;
    let token = forged(1, |_, _| {});
    let started = tokio::time::Instant::now();
    let replies = futures::future::join_all((0..12).map(|_| with(&rig, &token))).await;
    // One after the other they would take a minute: a call to authentication times out after 5 s.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    replies.iter().for_each(|reply| reply.is_problem(503, "can't be checked"));
}

#[tokio::test]
async fn rejects_tokens_of_a_revoked_key_within_a_bounded_time() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let former = forged(1, |_, _| {});
    assert_eq!(with(&rig, &former).await.status, 200);
    *rig.authentication.seeds.lock().unwrap() = vec![2];
    let started = tokio::time::Instant::now();
    while with(&rig, &former).await.status != 401 {
        assert!(started.elapsed() < Duration::from_secs(120), "the token is still accepted");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(with(&rig, &forged(2, |_, _| {})).await.status, 200);
}

#[tokio::test]
async fn an_admin_rotates_the_signing_keys_with_immediate_effect() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let rotate = |body: Value| rig.post("/v1/signing-keys/rotate", &body);
    let former = forged(1, |_, _| {});
    reply(rotate(json!({}))).await.is_problem(401, "sign in first");
    rig.as_user(rotate(json!({"revoke": true}))).await.is_problem(403, "needs the role admin");
    rig.as_admin(rotate(json!({"revoke": "yes"}))).await.is_problem(400, "revoke");
    rig.as_admin(rotate(json!({"Revoke": true}))).await.is_problem(400, "unknown field `Revoke`");
    assert_eq!(rig.as_admin(rotate(json!({}))).await.status, 200);
    assert_eq!(with(&rig, &former).await.status, 200);
    let admin = forged(1, |_, claims| claims["role"] = json!("admin"));
    *rig.authentication.seeds.lock().unwrap() = vec![2];
    let done = reply(rotate(json!({"revoke": true})).bearer_auth(admin)).await;
    assert_eq!(done.status, 200, "{done:?}");
    assert!(done.body["key_id"].is_string() && done.body["signs_from"].is_string(), "{done:?}");
    assert_eq!(*rig.authentication.rotations.lock().unwrap(), [false, true]);
    with(&rig, &former).await.is_problem(401, "invalid access token");

    *rig.authentication.demoted.lock().unwrap() = true;
    let demoted = forged(2, |_, claims| claims["role"] = json!("admin"));
    let refused = reply(rotate(json!({"revoke": true})).bearer_auth(demoted)).await;
    refused.is_problem(403, "needs the role admin");
    assert_eq!(rig.authentication.rotations.lock().unwrap().len(), 2);
}
