use std::time::Duration;

use weft_devstack::{Service, ServiceOptions, StateDir};

use crate::helpers::Site;

/// Starts it with one setting; it has to end, and to name the setting in its last words.
async fn refuses(name: &str, value: &str) {
    let state = StateDir::temporary().unwrap();
    let options = ServiceOptions::default().env(name, value);
    let frontend = Service::start_unready("frontend", state.path(), options).unwrap();
    let status = frontend.await_end(Duration::from_secs(20)).await.unwrap();
    assert_eq!(status, "exit status: 1", "{name}={value}");
    let said = frontend.log_tail();
    assert!(said.contains(name), "{name}={value}: {said}");
}

#[tokio::test]
async fn a_setting_that_is_wrong_is_named() {
    refuses("FRONTEND_BROKER_URL", "api.example.com").await;
    refuses("FRONTEND_BROKER_URL", "https://api.example.com/v1").await;
    refuses("FRONTEND_BROKER_URL", "https://a; script-src *").await;
    refuses("FRONTEND_JAEGER_URL", "javascript:alert(1)").await;
    refuses("FRONTEND_JAEGER_URL", "https://me:secret@jaeger").await;
    refuses("WEFT_HTTP_ADDR", "everywhere").await;
}

#[tokio::test]
async fn what_a_setting_says_is_text_in_the_page() {
    let options = ServiceOptions::default().env("FRONTEND_JAEGER_URL", "https://jaeger.example.com/a'&b/");
    let html = Site::start_with(options).await.get("/trace").await.text().await.unwrap();
    assert!(html.contains("content=\"https://jaeger.example.com/a&#39;&#38;b\""), "{html}");
}
