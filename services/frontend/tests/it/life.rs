use crate::helpers::Site;

#[tokio::test]
async fn counts_requests_by_route() {
    let site = Site::start().await;
    for path in ["/", "/trace/0af7651916cd43dd8448eb211c80319c", "/nothing/1", "/nothing/2"] {
        site.get(path).await;
    }
    let metrics = reqwest::get(format!("{}/metrics", site.service.admin_url())).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let counted = |labels: &str, count: u32| {
        let line = format!("http_server_request_duration_seconds_count{{{labels}}} {count}");
        assert!(metrics.contains(&line), "no {line} in\n{metrics}");
    };
    counted(r#"http_request_method="GET",http_route="/",http_response_status_code="200""#, 1);
    counted(r#"http_request_method="GET",http_route="/trace/{id}",http_response_status_code="200""#, 1);
    counted(r#"http_request_method="GET",http_route="",http_response_status_code="404""#, 2);
}

#[tokio::test]
async fn exits_with_0_on_sigterm() {
    let site = Site::start().await;
    site.get("/").await;
    assert_eq!(site.service.stop().await.unwrap(), "exit status: 0");
}
