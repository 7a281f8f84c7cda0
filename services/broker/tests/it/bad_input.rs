use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weft_devstack::ServiceOptions;

use crate::rig::{Rig, reply};

#[tokio::test]
async fn what_can_be_no_sign_in_is_refused_before_anybody_hashes_it() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let auth = |email: Value, password: Value| json!({"action": "auth", "auth": {"email": email, "password": password}});
    for (body, status, part) in [
        (auth(json!("a@b.c\r\nBcc: x"), json!("x")), 400, "auth.email has a line break"),
        (auth(json!("x".repeat(10_000)), json!("x")), 400, "auth.email has more than 254"),
        (auth(json!(""), json!("x")), 400, "auth.email is empty"),
        (auth(json!("a@b.c"), json!("")), 400, "auth.password is empty"),
        (auth(json!("a@b.c"), json!("x".repeat(1_000_000))), 400, "auth.password has more than"),
        (auth(json!("a@b.c"), json!("x".repeat(1 << 20))), 413, "1 MiB"),
        (auth(json!("a@b.c"), json!(5)), 400, "auth.password"),
        (json!({"action": "auth"}), 400, "needs the field auth"),
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
async fn a_thousand_headers_are_431_and_doubled_fields_400() {
    let rig = Rig::start(ServiceOptions::default()).await;
    let address = rig.broker.http_url();
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
    let headers: String = (0..1_000).map(|number| format!("x-{number}: y\r\n")).collect();
    stream.write_all(format!("GET /ping HTTP/1.1\r\nhost: b\r\n{headers}\r\n").as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 431");

    let doubled = r#"{"action":"auth","auth":{"email":"a@b.c","email":"d@e.f","password":"x"}}"#;
    let refused = reply(rig.request(Method::POST, "/handle").body(doubled)).await;
    assert_eq!(refused.status, 400);
    assert!(refused.body["message"].as_str().unwrap().contains("duplicate field"), "{refused:?}");
    let twice = rig.get("/v1/users/me").bearer_auth("a").header("authorization", "Bearer b");
    reply(twice).await.is_problem(401, "not valid here");
}
