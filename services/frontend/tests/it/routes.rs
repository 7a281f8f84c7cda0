use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use reqwest::{Method, StatusCode};

use crate::helpers::{BROKER, Site, assets_of, header};

#[tokio::test]
async fn each_path_shows_its_view() {
    let site = Site::start().await;
    let trace = format!("/trace/{}", "0af7651916cd43dd8448eb211c80319c");
    for (path, view, title) in [
        ("/", "send", "Send"),
        ("/logs", "logs", "Logs"),
        ("/trace", "trace", "Trace"),
        (trace.as_str(), "trace", "Trace"),
        ("/dead-letters", "dead-letters", "Dead letters"),
        ("/account", "account", "Account"),
    ] {
        let reply = site.get(path).await;
        assert_eq!(reply.status(), StatusCode::OK, "{path}");
        assert_eq!(header(&reply, "content-type").unwrap(), "text/html; charset=utf-8");
        let html = reply.text().await.unwrap();
        assert!(html.contains(&format!("<title>{title} · Weft</title>")), "{path}");
        assert!(
            html.contains(&format!("<section id=\"{view}\" aria-labelledby=\"{view}-title\">")),
            "{path}"
        );
        assert_eq!(html.matches("aria-current=\"page\"").count(), 1, "{path}");
        assert!(html.contains(&format!("<meta name=\"weft-broker\" content=\"{BROKER}\">")), "{path}");
    }
}

#[tokio::test]
async fn password_reset_pages_are_not_in_the_navigation() {
    let site = Site::start().await;
    for (view, title) in
        [("forgot-password", "Forgot your password?"), ("reset-password", "Set a new password")]
    {
        let reply = site.get(&format!("/account/{view}")).await;
        assert_eq!(reply.status(), StatusCode::OK, "{view}");
        let html = reply.text().await.unwrap();
        assert!(html.contains(&format!("<title>{title} · Weft</title>")), "{view}");
        let section =
            format!("<section id=\"{view}\" aria-labelledby=\"{view}-title\" class=\"card narrow\">");
        assert!(html.contains(&section), "{view}");
        assert!(!html.contains("aria-current"), "{view}");
    }
}

#[tokio::test]
async fn unknown_paths_get_a_404_page() {
    let site = Site::start().await;
    let long = format!("/trace/{}", "a".repeat(10_000));
    for path in [
        "/nothing",
        "/logs/",
        "/index.html",
        "/trace/x",
        "/trace/0AF7651916CD43DD8448EB211C80319C",
        long.as_str(),
        "/trace/%ff",
        "/assets",
        "/assets/app.js",
        "/assets/x/nothing.js",
        "/assets/x/tsconfig.json",
        "/assets/x/types.d.ts",
    ] {
        let reply = site.get(path).await;
        assert_eq!(reply.status(), StatusCode::NOT_FOUND, "{path}");
        assert_eq!(header(&reply, "cache-control").unwrap(), "no-store", "{path}");
        assert!(reply.text().await.unwrap().contains("Page not found"), "{path}");
    }
}

#[tokio::test]
async fn refuses_methods_other_than_get_and_head() {
    let site = Site::start().await;
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS, Method::TRACE] {
        for path in ["/", "/logs", "/assets/x/app.js"] {
            let reply = site.send(method.clone(), path, &[]).await;
            assert_eq!(reply.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
            assert_eq!(header(&reply, "allow").unwrap(), "GET, HEAD", "{method} {path}");
        }
    }
    let made_up = site.send(Method::from_bytes(b"BREW").unwrap(), "/", &[]).await;
    assert_eq!(made_up.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let site = Site::start().await;
    let script = assets_of(&site.get("/").await.text().await.unwrap()).pop().unwrap();
    for path in ["/", "/account", "/nothing", script.as_str()] {
        let (get, head) = (site.get(path).await, site.send(Method::HEAD, path, &[]).await);
        assert_eq!(get.status(), head.status(), "{path}");
        for name in ["content-length", "content-type", "etag", "cache-control"] {
            assert_eq!(header(&get, name), header(&head, name), "{name} of {path}");
        }
        assert!(head.bytes().await.unwrap().is_empty(), "{path}");
    }
}

/// Sends a path unchanged over a socket, because a client library would normalize it.
fn status_of(site: &Site, target: &str) -> String {
    let address = site.service.http_url().replace("http://", "");
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(!reply.contains("root:"), "{target}");
    reply.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn no_path_escapes_the_assets() {
    let site = Site::start().await;
    for target in [
        "/assets/x/../../../../etc/passwd",
        "/assets/x/..%2f..%2f..%2fetc%2fpasswd",
        "/assets/..%2f..%2fetc/passwd",
        "/assets/x/%2e%2e/%2e%2e/etc/passwd",
        "/assets//etc/passwd",
        "/assets/x/app.js%00.html",
        "/../../etc/passwd",
        "//etc/passwd",
        "/assets/x/..\\..\\etc\\passwd",
    ] {
        let status = status_of(&site, target);
        assert!(["404", "400"].contains(&status.as_str()), "{target} is answered {status}");
    }
}
