use reqwest::Method;
use weft_devstack::ServiceOptions;

use crate::helpers::{Site, assets_of, header};

fn policy(connect: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src {connect}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'"
    )
}

#[tokio::test]
async fn every_reply_carries_the_same_strict_headers() {
    let site = Site::start().await;
    let script = assets_of(&site.get("/").await.text().await.unwrap()).pop().unwrap();
    let wanted = policy("'self' https://api.example.com:8443");
    for (method, path) in [
        (Method::GET, "/"),
        (Method::HEAD, "/logs"),
        (Method::GET, "/nothing"),
        (Method::POST, "/"),
        (Method::GET, "/trace/%ff"),
        (Method::GET, script.as_str()),
    ] {
        let reply = site.send(method.clone(), path, &[]).await;
        let said = |name| header(&reply, name).unwrap_or_default();
        assert_eq!(said("content-security-policy"), wanted, "{method} {path}");
        assert_eq!(said("x-content-type-options"), "nosniff", "{method} {path}");
        assert_eq!(said("referrer-policy"), "no-referrer", "{method} {path}");
        assert_eq!(said("cross-origin-opener-policy"), "same-origin", "{method} {path}");
        assert_eq!(said("cross-origin-resource-policy"), "same-origin", "{method} {path}");
        assert_eq!(said("strict-transport-security"), "max-age=31536000", "{method} {path}");
        assert!(said("permissions-policy").contains("camera=()"), "{method} {path}");
        assert_eq!(header(&reply, "set-cookie"), None, "{method} {path}");
        assert_eq!(header(&reply, "server"), None, "{method} {path}");
    }
}

#[tokio::test]
async fn without_a_broker_of_its_own_a_page_calls_only_its_own_origin() {
    let site = Site::start_with(ServiceOptions::default()).await;
    let reply = site.get("/").await;
    assert_eq!(header(&reply, "content-security-policy").unwrap(), policy("'self'"));
    assert!(reply.text().await.unwrap().contains(r#"<meta name="weft-broker" content="">"#));
}

#[tokio::test]
async fn pages_have_no_inline_script_or_style() {
    let site = Site::start().await;
    for path in ["/", "/logs", "/trace", "/dead-letters", "/account", "/nothing"] {
        let html = site.get(path).await.text().await.unwrap();
        assert!(!html.contains("<style"), "{path}");
        assert!(!html.contains(" style="), "{path}");
        let handler = |rest: &str| rest.trim_start_matches(char::is_alphabetic).starts_with('=');
        assert!(!html.split(" on").skip(1).any(handler), "an attribute such as onclick in {path}");
        assert!(
            html.matches("<script").count() == html.matches("<script type=\"module\" src=").count(),
            "{path}"
        );
        assert!(
            !html.contains("http://") && !html.replace(crate::helpers::BROKER, "").contains("https://"),
            "{path}"
        );
    }
}
