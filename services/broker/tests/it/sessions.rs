use reqwest::Method;
use serde_json::{Value, json};
use weft_devstack::ServiceOptions;

use crate::authentication::{EMAIL, PASSWORD, SESSION, USER};
use crate::rig::{Reply, Rig, reply};

fn auth(email: &str, password: &str) -> Value {
    json!({"action": "auth", "auth": {"email": email, "password": password}})
}

fn cookie(reply: &Reply) -> String {
    reply.header("set-cookie").split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn signs_in_refreshes_and_signs_out() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let signed_in = reply(rig.post("/handle", &auth(EMAIL, PASSWORD))).await;
    assert_eq!((signed_in.status, &signed_in.body["message"]), (202, &json!("Authenticated!")));
    let data = &signed_in.body["data"];
    assert_eq!((&data["id"], &data["email"], &data["active"]), (&json!(USER), &json!(EMAIL), &json!(true)));
    assert_eq!((&data["role"], &data["token_type"]), (&json!("user"), &json!("Bearer")));
    assert!((290..=300).contains(&data["expires_in"].as_u64().unwrap()));
    let set = signed_in.header("set-cookie");
    assert!(
        set.starts_with("weft-session.tests.one=refresh-1; HttpOnly; SameSite=Strict; Path=/; Max-Age="),
        "{set}"
    );

    let me = reply(rig.get("/v1/users/me").bearer_auth(data["access_token"].as_str().unwrap())).await;
    assert_eq!((me.status, &me.body["email"]), (200, &json!(EMAIL)));

    let refresh = |cookie: String| rig.request(Method::POST, "/v1/session/refresh").header("cookie", cookie);
    let refreshed = reply(refresh(cookie(&signed_in))).await;
    assert_eq!((refreshed.status, &refreshed.body["user"]["id"]), (200, &json!(USER)));
    assert_eq!(cookie(&refreshed), "weft-session.tests.one=refresh-2");
    let replayed = reply(refresh(cookie(&refreshed))).await;
    replayed.is_problem(401, "sign in again");
    assert!(replayed.header("set-cookie").contains("Max-Age=0"), "{replayed:?}");

    let ended =
        reply(rig.request(Method::POST, "/logout").header("cookie", "weft-session.tests.one=refresh-2"))
            .await;
    assert_eq!((ended.status, &ended.body["message"]), (202, &json!("Signed out")));
    assert!(ended.header("set-cookie").starts_with("weft-session.tests.one=; "), "{ended:?}");
    let everywhere = rig.as_user(rig.post("/logout", &json!({"everywhere": true}))).await;
    assert_eq!(everywhere.status, 202);
    let sign_outs = rig.authentication.sign_outs.lock().unwrap();
    assert_eq!((sign_outs[0].0.as_ref(), sign_outs[0].1.refresh_token.as_str()), (None, "refresh-2"));
    assert_eq!(sign_outs[1].0.as_ref().unwrap().session, SESSION);
    assert!(sign_outs[1].1.everywhere && sign_outs[1].1.refresh_token.is_empty());
}

#[tokio::test]
async fn wrong_credentials_are_401_limits_429_and_outages_503() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let wrong = reply(rig.post("/handle", &auth(EMAIL, "wrong"))).await;
    assert_eq!((wrong.status, &wrong.body["message"]), (401, &json!("invalid credentials")));
    assert_eq!(wrong.body["error"], true);
    let limited = reply(rig.post("/handle", &auth("limited@example.com", "x"))).await;
    assert_eq!((limited.status, limited.header("retry-after")), (429, "17"));
    assert!(limited.body["message"].as_str().unwrap().starts_with("too many attempts"), "{limited:?}");
    rig.stop_authentication().await;
    let unavailable = reply(rig.post("/handle", &auth(EMAIL, PASSWORD))).await;
    assert_eq!((unavailable.status, unavailable.header("retry-after")), (503, "1"));
    // Sign-out failed: the cookie stays for the next attempt.
    let unavailable =
        reply(rig.request(Method::POST, "/logout").header("cookie", "weft-session.tests.one=refresh-1"))
            .await;
    assert_eq!((unavailable.status, unavailable.header("set-cookie")), (503, ""));
}

#[tokio::test]
async fn everywhere_requires_the_access_token_of_an_open_session() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let everywhere = || {
        rig.post("/logout", &json!({"everywhere": true})).header("cookie", "weft-session.tests.one=refresh-1")
    };
    for request in [everywhere(), everywhere().bearer_auth("abc")] {
        let refused = reply(request).await;
        assert_eq!((refused.status, refused.header("set-cookie")), (401, ""), "{refused:?}");
    }
    assert!(rig.authentication.sign_outs.lock().unwrap().is_empty());
    *rig.authentication.session_over.lock().unwrap() = true;
    let refused = rig.as_user(everywhere()).await;
    assert_eq!((refused.status, refused.header("set-cookie")), (401, ""), "{refused:?}");
    // Signing out of the current session succeeds, because it has already ended.
    let plain =
        reply(rig.request(Method::POST, "/logout").header("cookie", "weft-session.tests.one=refresh-1"))
            .await;
    assert_eq!(plain.status, 202);
    assert!(plain.header("set-cookie").contains("Max-Age=0"), "{plain:?}");
}

#[tokio::test]
async fn refresh_and_sign_out_without_a_session_are_401() {
    let rig = Rig::start(ServiceOptions::default()).await;
    reply(rig.request(Method::POST, "/v1/session/refresh")).await.is_problem(401, "no session");
    let no_session = reply(rig.request(Method::POST, "/logout")).await;
    assert_eq!((no_session.status, no_session.header("www-authenticate")), (401, "Bearer"));
    let invalid = reply(rig.request(Method::POST, "/logout").bearer_auth("abc")).await;
    assert_eq!(invalid.status, 401);
    for wrong in [json!({"everywhere": "yes"}), json!({"everyWhere": true})] {
        assert_eq!(rig.as_user(rig.post("/logout", &wrong)).await.status, 400);
    }
}

#[tokio::test]
async fn uses_scheme_and_address_from_a_trusted_proxy() {
    let rig = Rig::start(ServiceOptions::default().env("BROKER_TRUSTED_PROXIES", "127.0.0.0/8")).await;
    let request = rig.post("/handle", &auth(EMAIL, PASSWORD));
    let request =
        request.header("x-forwarded-proto", "https").header("x-forwarded-for", "6.6.6.6, 198.51.100.7");
    let signed_in = reply(request).await;
    let set = signed_in.header("set-cookie");
    assert!(set.starts_with("__Host-weft-session.tests.one=") && set.contains("; Secure;"), "{set}");
    assert_eq!(signed_in.header("strict-transport-security"), "max-age=31536000");
    assert_eq!(rig.authentication.sign_ins.lock().unwrap()[0].client_address, "198.51.100.7");
}

#[tokio::test]
async fn lists_and_ends_sessions() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let listed = rig.as_user(rig.get("/v1/sessions")).await;
    assert_eq!((listed.status, &listed.body["items"][0]["current"]), (200, &json!(true)));
    let end = |id: &str| rig.request(Method::DELETE, &format!("/v1/sessions/{id}"));
    assert_eq!(rig.as_user(end(SESSION)).await.status, 204);
    rig.as_user(end(USER)).await.is_problem(404, "session not found");
    rig.as_user(end("x")).await.is_problem(400, "expected a UUID");
}
