use std::time::Duration;

use weft_devstack::{Service, ServiceOptions, StateDir};

use crate::helpers::Site;

/// Checks that a start with this setting fails and the log names the setting.
async fn refuses(name: &str, value: &str) {
    let state = StateDir::temporary().unwrap();
    let options = ServiceOptions::default().env(name, value);
    let frontend = Service::start_unready("frontend", state.path(), options).unwrap();
    let status = frontend.await_end(Duration::from_secs(20)).await.unwrap();
    assert_eq!(status, "exit status: 1", "{name}={value}");
    let log = frontend.log_tail();
    assert!(log.contains(name), "{name}={value}: {log}");
}

#[tokio::test]
async fn an_invalid_setting_fails_the_start_and_is_named() {
    refuses("FRONTEND_BROKER_URL", "api.example.com").await;
    refuses("FRONTEND_BROKER_URL", "https://api.example.com/v1").await;
    refuses("FRONTEND_BROKER_URL", "https://a; script-src *").await;
    refuses("FRONTEND_JAEGER_URL", "javascript:alert(1)").await;
    refuses("FRONTEND_JAEGER_URL", "https://me:secret@jaeger").await;
    refuses("WEFT_HTTP_ADDR", "everywhere").await;
}

#[tokio::test]
async fn escapes_settings_in_pages() {
    let options = ServiceOptions::default().env("FRONTEND_JAEGER_URL", "https://jaeger.example.com/a'&b/");
    let html = Site::start_with(options).await.get("/trace").await.text().await.unwrap();
    assert!(html.contains("content=\"https://jaeger.example.com/a&#39;&#38;b\""), "{html}");
}
