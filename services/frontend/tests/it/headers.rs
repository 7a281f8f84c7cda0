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
async fn every_response_has_the_security_headers() {
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
        let value_of = |name| header(&reply, name).unwrap_or_default();
        assert_eq!(value_of("content-security-policy"), wanted, "{method} {path}");
        assert_eq!(value_of("x-content-type-options"), "nosniff", "{method} {path}");
        assert_eq!(value_of("referrer-policy"), "no-referrer", "{method} {path}");
        assert_eq!(value_of("cross-origin-opener-policy"), "same-origin", "{method} {path}");
        assert_eq!(value_of("cross-origin-resource-policy"), "same-origin", "{method} {path}");
        assert_eq!(value_of("strict-transport-security"), "max-age=31536000", "{method} {path}");
        assert!(value_of("permissions-policy").contains("camera=()"), "{method} {path}");
        assert_eq!(header(&reply, "set-cookie"), None, "{method} {path}");
        assert_eq!(header(&reply, "server"), None, "{method} {path}");
    }
}

#[tokio::test]
async fn allows_only_the_own_origin_without_a_broker_url() {
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
