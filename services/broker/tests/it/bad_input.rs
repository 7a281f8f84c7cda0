use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weft_devstack::ServiceOptions;

use crate::rig::{Rig, reply};

#[tokio::test]
async fn rejects_invalid_credentials_before_hashing() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let auth = |email: Value, password: Value| json!({"action": "auth", "auth": {"email": email, "password": password}});
    for (body, status, part) in [
        (auth(json!("a@b.c\r\nBcc: x"), json!("x")), 400, "auth.email: the email address has a line break"),
        (auth(json!("x".repeat(10_000)), json!("x")), 400, "auth.email: the email address is too long"),
        (auth(json!(""), json!("x")), 400, "auth.email: the email address is empty"),
        (auth(json!("a@b.c"), json!("")), 400, "auth.password: the password is empty"),
        (auth(json!("a@b.c"), json!("x".repeat(1_000_000))), 400, "auth.password: the password is too long"),
        (auth(json!("a@b.c"), json!("x".repeat(1 << 20))), 413, "1 MiB"),
        (auth(json!("a@b.c"), json!(5)), 400, "auth.password"),
        (json!({"action": "auth"}), 400, "missing field `auth`"),
        (json!({"action": "mail"}), 401, "sign in first"),
    ] {
        let refused = reply(rig.post("/handle", &body)).await;
        assert_eq!(refused.status, status, "{refused:?}");
        assert!(refused.body["message"].as_str().unwrap().contains(part), "{refused:?} without `{part}`");
        // A password must not come back in an error.
        assert!(refused.body.to_string().len() < 1_000);
    }
    assert!(rig.authentication.sign_ins.lock().unwrap().is_empty());
    let script = reply(rig.post("/handle", &auth(json!("用户@例子.广告"), json!("密码")))).await;
    assert_eq!(script.status, 401);
}

#[tokio::test]
async fn too_many_headers_are_431_and_repeated_fields_400() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let address = rig.broker.http_url();
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
    let headers: String = (0..1_000).map(|number| format!("x-{number}: y\r\n")).collect();
    stream.write_all(format!("GET /ping HTTP/1.1\r\nhost: b\r\n{headers}\r\n").as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 431");

    let repeated = r#"{"action":"auth","auth":{"email":"a@b.c","email":"d@e.f","password":"x"}}"#;
    let refused = reply(rig.request(Method::POST, "/handle").body(repeated)).await;
    assert_eq!(refused.status, 400);
    assert!(refused.body["message"].as_str().unwrap().contains("duplicate field"), "{refused:?}");
    let twice = rig.get("/v1/users/me").bearer_auth("a").header("authorization", "Bearer b");
    reply(twice).await.is_problem(401, "expected one header");
}

#[tokio::test]
async fn another_scheme_gets_another_message_than_an_expired_token() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let basic = reply(rig.get("/v1/users/me").header("authorization", "Basic YTpi")).await;
    basic.is_problem(401, "scheme Bearer");
    assert!(!basic.body["detail"].as_str().unwrap().contains("expired"), "{basic:?}");
    assert_eq!(basic.header("www-authenticate"), "Bearer");
}

#[tokio::test]
async fn rejects_what_another_service_would_reject() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let nil = uuid::Uuid::nil();
    let log = json!({"action": "log", "log": {"name": "n"}});
    let event = json!({"action": "event", "event": {"name": "n"}});
    for body in [log, event] {
        let refused = reply(rig.post("/handle", &body).header("idempotency-key", nil.to_string())).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(
            refused.body["message"].as_str().unwrap().starts_with("Idempotency-Key: the nil UUID"),
            "{refused:?}"
        );
    }
    for to in [format!("{}@example.com", "ü".repeat(40)), format!("a@{}.com", "x".repeat(64))] {
        let mail = json!({"from": "a@b.c", "to": to, "subject": "s", "message": "m"});
        let refused = rig.as_user(rig.post("/handle", &json!({"action": "mail", "mail": mail}))).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        let message = refused.body["message"].as_str().unwrap();
        assert!(
            message.starts_with("mail.to: invalid email address") && message.contains("octets"),
            "{message}"
        );
        let user = json!({"email": to, "password": crate::authentication::PASSWORD});
        rig.as_admin(rig.post("/v1/users", &user)).await.is_problem(400, "email: invalid email address");
    }
    for (from, part) in [("2026-01-31T12:00:00+01:00", "%2B"), ("-000001-01-01T00:00:00Z", "years 1 to 9999")]
    {
        rig.as_viewer(rig.get(&format!("/v1/logs?from={from}"))).await.is_problem(400, part);
    }
    let early = rig.as_viewer(rig.get("/v1/logs?from=1969-12-31T23:59:59.5Z")).await;
    assert_eq!(early.status, 200, "{early:?}");
}
