//! Routes to the user's own services, with a real HTTP server behind the broker.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::header::{CONNECTION, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, post};
use axum::{Json, Router};
use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::{StreamExt as _, stream};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use weft_devstack::{ServiceOptions, free_port};
use weft_mesh::caller::Role;

use crate::authentication::{SESSION, USER, forged, token};
use crate::rig::{Rig, reply};

/// Answers with the request as it arrived.
async fn echo(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let headers: Vec<_> =
        parts.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    let request = json!({
        "method": parts.method.as_str(), "uri": parts.uri.to_string(), "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    let mut response = (StatusCode::CREATED, Json(request)).into_response();
    for cookie in ["weft-session.tests.one=mine; Path=/", "basket=3"] {
        response.headers_mut().append(SET_COOKIE, cookie.parse().unwrap());
    }
    let headers = response.headers_mut();
    headers.insert("access-control-allow-origin", "*".parse().unwrap());
    headers.insert("x-of-the-hop", "1".parse().unwrap());
    headers.insert(CONNECTION, "x-of-the-hop".parse().unwrap());
    headers.insert("content-security-policy", "default-src 'self'".parse().unwrap());
    response
}

/// Counts the bytes of a body as they arrive.
async fn count(body: Body) -> String {
    let mut parts = body.into_data_stream();
    let mut bytes = 0;
    while let Some(Ok(part)) = parts.next().await {
        bytes += part.len();
    }
    bytes.to_string()
}

async fn hangs_in_the_middle() -> Body {
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"first"))]);
    Body::from_stream(first.chain(stream::pending()))
}

async fn upstream() -> SocketAddr {
    let router = Router::new()
        .route("/shop/count", post(count))
        .route("/shop/never", any(async || std::future::pending::<()>().await))
        .route("/shop/silent", any(hangs_in_the_middle))
        .fallback(echo);
    serve(router).await
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn rig(more: ServiceOptions) -> Rig {
    let routes = format!("/shop=http://{}", upstream().await);
    let mut options = ServiceOptions::default().env("BROKER_ROUTES", routes);
    options.env.extend(more.env);
    Rig::start(options).await
}

fn received<'a>(body: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = body["headers"].as_array().unwrap().iter();
    headers.filter(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap()).collect()
}

#[tokio::test]
async fn forwards_requests_and_replies_unchanged() {
    let rig = rig(ServiceOptions::default()).await;
    for (method, path) in [
        (Method::PUT, "/shop"),
        (Method::GET, "/shop/"),
        (Method::DELETE, "/shop/orders/7?full=%20yes&x"),
        (Method::PATCH, "/shop/a%3Fb"),
    ] {
        let body = if method == Method::GET { "" } else { "hello" };
        let sent = rig.request(method.clone(), path).header("content-type", "text/x-own").body(body);
        let got = reply(sent).await;
        assert_eq!((got.status, &got.body["uri"]), (201, &json!(path)), "{got:?}");
        assert_eq!(got.body["method"], method.as_str());
        assert_eq!(
            (&got.body["body"], received(&got.body, "content-type")),
            (&json!(body), vec!["text/x-own"])
        );
        assert_eq!(received(&got.body, "transfer-encoding"), [""; 0], "the content length is kept");
    }
}

#[tokio::test]
async fn prefixes_match_whole_segments() {
    let rig = rig(ServiceOptions::default()).await;
    for path in ["/shopping", "/shop-2/orders", "/sho", "/Shop", "/x/shop"] {
        assert_eq!(reply(rig.get(path)).await.status, 404, "{path}");
    }
    assert_eq!(rig.get("/ping").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn filters_headers_and_adds_those_about_the_client() {
    let rig = rig(ServiceOptions::default()).await;
    let asked = rig
        .get("/shop/x")
        .header("weft-user-id", "root")
        .header("Weft_User_Id", "root")
        .header("x_forwarded_for", "6.6.6.6")
        .header("x-forwarded-for", "6.6.6.6")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("cookie", "a=1; weft-session.tests.one=secret")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .header("baggage", "k=v")
        .header("proxy", "http://10.0.0.1")
        .header("authorization", "Basic b3du");
    let got = reply(asked).await;
    for gone in ["weft-user-id", "weft_user_id", "x_forwarded_for", "x-hop", "baggage", "proxy"] {
        assert_eq!(received(&got.body, gone), [""; 0], "{gone}");
    }
    assert_eq!(
        received(&got.body, "authorization"),
        ["Basic b3du"],
        "credentials of other schemes are forwarded"
    );
    assert_eq!(received(&got.body, "cookie"), ["a=1"]);
    assert_eq!(received(&got.body, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(received(&got.body, "x-forwarded-proto"), ["http"]);
    let host = rig.broker.http_url().replace("http://", "");
    assert_eq!(received(&got.body, "x-forwarded-host"), [host]);
    let trace = got.header("traceresponse").split('-').nth(1).unwrap().to_owned();
    let carried = received(&got.body, "traceparent");
    assert!(carried.len() == 1 && carried[0].contains(&trace), "{carried:?} does not have trace {trace}");

    assert_eq!(got.header("set-cookie"), "basket=3", "services can't set the session cookie");
    assert_eq!(got.headers.get_all("set-cookie").iter().count(), 1);
    assert_eq!(got.header("access-control-allow-origin"), "");
    assert_eq!(got.header("x-of-the-hop"), "");
    assert_eq!(got.header("content-security-policy"), "default-src 'self'", "the service's own CSP is kept");
    assert_eq!(got.header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn rejects_paths_that_a_service_may_read_as_another_one() {
    let rig = rig(ServiceOptions::default()).await;
    let address = rig.broker.http_url().replace("http://", "");
    for path in ["/shop/../x", "/shop/%2e%2e/x", "/shop/a%2fb", "/shop/a%5cb", "/shop/a\\b", "/shop//x"] {
        // A URL type would change these paths.
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        assert!(reply.starts_with("HTTP/1.1 400 ") && reply.contains("invalid path"), "{path}: {reply}");
    }
    assert_eq!(reply(rig.get("/shop/...")).await.status, 201);
}

#[tokio::test]
async fn identifies_the_caller_to_the_service_without_the_token() {
    let rig = rig(ServiceOptions::default()).await;
    let got = reply(rig.get("/shop/me").bearer_auth(token(Role::Admin))).await;
    assert_eq!(received(&got.body, "weft-user-id"), [USER]);
    assert_eq!(received(&got.body, "weft-session-id"), [SESSION]);
    assert_eq!(received(&got.body, "weft-user-role"), ["admin"]);
    assert_eq!(received(&got.body, "authorization"), [""; 0]);
    let expired = forged(1, |_, claims| claims["exp"] = json!(1));
    reply(rig.get("/shop/me").bearer_auth(expired)).await.is_problem(401, "invalid access token");
    let opaque = reply(rig.get("/shop/me").bearer_auth("theirs")).await;
    assert_eq!((opaque.status, received(&opaque.body, "authorization")), (201, vec!["Bearer theirs"]));
}

#[tokio::test]
async fn streams_bodies() {
    let (sender, parts) = unbounded::<Result<Bytes, Infallible>>();
    let parts = Arc::new(Mutex::new(Some(parts)));
    let tail = move || {
        let parts = parts.lock().unwrap().take().unwrap();
        std::future::ready(Body::from_stream(parts))
    };
    let router = Router::new().route("/shop/tail", any(tail));
    let routes = format!("/shop=http://{}", serve(router).await);
    let rig = Rig::start(ServiceOptions::default().env("BROKER_ROUTES", routes)).await;
    let send = |sender: &UnboundedSender<_>, text: &'static str| {
        sender.unbounded_send(Ok(Bytes::from_static(text.as_bytes()))).unwrap();
    };
    send(&sender, "one");
    let mut response = rig.get("/shop/tail").send().await.unwrap();
    // Each part arrives before the next one is sent.
    assert_eq!(response.chunk().await.unwrap().unwrap(), "one");
    send(&sender, "two");
    assert_eq!(response.chunk().await.unwrap().unwrap(), "two");
    drop(sender);
    assert_eq!(response.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn a_body_has_a_bound_and_a_time() {
    let options =
        ServiceOptions::default().env("BROKER_ROUTE_BODY_BYTES", "200000").env("BROKER_ROUTE_TIMEOUT", "1s");
    let rig = rig(options).await;
    let send = |bytes: usize| rig.request(Method::POST, "/shop/count").body("x".repeat(bytes));
    let json_body = |request: reqwest::RequestBuilder| request.header("content-type", "application/json");
    assert_eq!(json_body(send(200_000)).send().await.unwrap().text().await.unwrap(), "200000");
    reply(json_body(send(200_001))).await.is_problem(413, "too large");

    // Without a content length, the size is checked while streaming.
    let chunk = format!("{:x}\r\n{}\r\n", 150_000, "x".repeat(150_000));
    assert_eq!(raw(&rig, &[&chunk, &chunk]).await, "413");
    assert_eq!(raw(&rig, &[&chunk, "0\r\n\r\n"]).await, "200");
    assert_eq!(raw(&rig, &["5\r\nhello\r\n"]).await, "408", "the rest never comes");
}

/// Posts these parts of a chunked body, and returns the status.
async fn raw(rig: &Rig, parts: &[&str]) -> String {
    let address = rig.broker.http_url().replace("http://", "");
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let head = format!("POST /shop/count HTTP/1.1\r\nhost: {address}\r\ntransfer-encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    for part in parts {
        stream.write_all(part.as_bytes()).await.unwrap();
    }
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    String::from_utf8_lossy(&head[9..]).into_owned()
}

#[tokio::test]
async fn an_unreachable_service_is_503_a_slow_one_504_and_a_broken_one_502() {
    let broken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let routes = format!(
        "/shop=http://{},/away=http://127.0.0.1:{},/broken=http://{}",
        upstream().await,
        free_port().unwrap(),
        broken.local_addr().unwrap()
    );
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = broken.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"not HTTP\r\n\r\n").await;
        }
    });
    let options = ServiceOptions::default().env("BROKER_ROUTES", routes).env("BROKER_ROUTE_TIMEOUT", "3s");
    let rig = Rig::start(options).await;
    let away = reply(rig.get("/away/x")).await;
    away.is_problem(503, "can't be reached");
    assert_eq!(away.header("retry-after"), "1");
    assert!(!away.body.to_string().contains("127.0.0.1"), "the reply has an address: {away:?}");
    reply(rig.get("/shop/never")).await.is_problem(504, "in time");
    reply(rig.get("/broken/x")).await.is_problem(502, "did not answer in HTTP");

    let mut response = rig.get("/shop/silent").send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.chunk().await.unwrap().unwrap()), (200, "first".into()));
    let rest = tokio::time::timeout(Duration::from_secs(60), response.chunk()).await;
    assert!(
        rest.expect("the reply was not cut off").is_err(),
        "the client can't tell that the reply is incomplete"
    );
}

#[tokio::test]
async fn limits_and_origins_apply_to_routes() {
    let options =
        ServiceOptions::default().env("BROKER_REQUESTS_PER_SECOND", "1").env("BROKER_REQUESTS_BURST", "3");
    let rig = rig(options).await;
    let form = rig.request(Method::POST, "/shop/order").header("origin", "https://evil.example").body("a=b");
    assert_eq!(reply(form).await.status, 403, "a page of another origin");
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(reply(rig.get("/shop/x")).await.status);
    }
    assert!(statuses.contains(&201) && statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn a_head_request_keeps_the_content_length() {
    let rig = rig(ServiceOptions::default()).await;
    let response = rig.request(Method::HEAD, "/shop/x").send().await.unwrap();
    let headers: HeaderMap = response.headers().clone();
    assert_eq!(response.status(), 201);
    assert!(headers["content-length"].to_str().unwrap().parse::<u32>().unwrap() > 0);
    assert_eq!(response.bytes().await.unwrap().len(), 0);
}
