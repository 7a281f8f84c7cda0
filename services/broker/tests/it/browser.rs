use reqwest::{Method, RequestBuilder};
use serde_json::json;
use weft_devstack::ServiceOptions;

use crate::rig::{Reply, Rig, reply};

const LISTED: &str = "http://127.0.0.1:30081";

async fn rig() -> Rig {
    Rig::start(ServiceOptions::default().env("BROKER_ORIGINS", LISTED)).await
}

fn assert_no_cors(reply: &Reply) {
    let cors = reply.headers.keys().find(|name| name.as_str().starts_with("access-control-"));
    assert_eq!(cors, None, "{reply:?}");
}

#[tokio::test]
async fn only_listed_origins_may_read_replies_and_errors() {
    let rig = rig().await;
    for (path, status) in [("/v1/users/me", 401), ("/nowhere", 404), ("/.well-known/jwks.json", 200)] {
        let allowed = reply(rig.get(path).header("origin", LISTED)).await;
        assert_eq!(allowed.status, status);
        assert_eq!(allowed.header("access-control-allow-origin"), LISTED);
        assert_eq!(allowed.header("access-control-allow-credentials"), "true");
        let exposed = allowed.header("access-control-expose-headers");
        assert_eq!(exposed, "traceresponse, Retry-After, RateLimit, RateLimit-Policy");
        assert_eq!(allowed.header("vary"), "Origin");
        for other in ["https://evil.example", "null", "http://127.0.0.1:30082", "http://127.0.0.1"] {
            assert_no_cors(&reply(rig.get(path).header("origin", other)).await);
        }
        assert_no_cors(&reply(rig.get(path)).await);
    }
}

#[tokio::test]
async fn answers_preflights_of_listed_origins_to_be_cached() {
    let rig = rig().await;
    let ask = |origin: &str| {
        let request = rig.request(Method::OPTIONS, "/v1/events").header("origin", origin);
        request.header("access-control-request-method", "POST")
    };
    let allowed = reply(ask(LISTED)).await;
    assert_eq!((allowed.status, allowed.header("access-control-max-age")), (204, "7200"));
    assert!(allowed.header("access-control-allow-headers").contains("Authorization"));
    assert!(allowed.header("access-control-allow-methods").contains("DELETE"));
    let other = reply(ask("https://evil.example")).await;
    assert_eq!(other.status, 204);
    assert_no_cors(&other);
    assert_eq!(reply(rig.request(Method::OPTIONS, "/v1/events")).await.status, 405);
}

#[tokio::test]
async fn refuses_requests_forged_by_other_sites() {
    let rig = rig().await;
    let body = r#"{"action":"log","log":{"name":"forged","data":""}}"#;
    let form = |request: RequestBuilder| request.header("content-type", "text/plain").body(body);
    let handle = || rig.request(Method::POST, "/handle");
    let refused = reply(form(handle()).header("origin", "https://evil.example")).await;
    assert_eq!((refused.status, &refused.body["error"]), (403, &json!(true)));
    assert!(refused.body["message"].as_str().unwrap().contains("another origin"));
    let cross = |request: RequestBuilder| request.header("sec-fetch-site", "cross-site");
    assert_eq!(reply(form(cross(handle()))).await.status, 403);
    let logout = || rig.request(Method::POST, "/logout").header("cookie", "weft-session.tests.one=refresh-1");
    assert_eq!(reply(cross(logout())).await.status, 403);
    assert_eq!(reply(logout().header("origin", "https://evil.example")).await.status, 403);
    let refresh =
        rig.request(Method::POST, "/v1/session/refresh").header("cookie", "weft-session.tests.one=refresh-1");
    reply(cross(refresh)).await.is_problem(403, "another origin");
    assert!(rig.entries.lock().unwrap().is_empty());
    assert!(rig.authentication.sign_outs.lock().unwrap().is_empty());

    // The console's page, a page of the broker's own origin, and a client that is not a browser.
    assert_eq!(reply(cross(logout()).header("origin", LISTED)).await.status, 202);
    assert_eq!(reply(logout().header("sec-fetch-site", "same-origin")).await.status, 202);
    assert_eq!(reply(logout().header("origin", rig.broker.http_url())).await.status, 202);
    let curl = handle().header("content-type", "application/x-www-form-urlencoded").body(body);
    assert_eq!(reply(curl).await.status, 202);
}

#[tokio::test]
async fn every_reply_has_the_security_headers() {
    let rig = rig().await;
    for path in ["/ping", "/nowhere", "/v1/users/me", "/v1/openapi.json"] {
        let reply = reply(rig.get(path)).await;
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("strict-transport-security", ""),
        ] {
            assert_eq!(reply.header(name), value, "{path} {name}");
        }
    }
}
