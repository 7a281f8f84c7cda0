//! The admin port: probes, metrics and status over plain HTTP, for use inside the cluster only.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};

use crate::health::Health;
use crate::metrics::{self, Metrics};
use crate::status::StatusBoard;

/// What the admin port serves.
#[derive(Debug, Clone, Default)]
pub struct Admin {
    /// Served at `/readyz`.
    pub health: Health,
    /// Served at `/metrics`.
    pub metrics: Metrics,
    /// Served at `/status`.
    pub status: StatusBoard,
}

/// The routes of the admin port.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .route("/status", get(status))
        .with_state(admin)
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let missing = admin.health.missing();
    if missing.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n").into_response()
}

async fn metrics_text(State(admin): State<Admin>) -> Response {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], admin.metrics.encode()).into_response()
}

async fn status(State(admin): State<Admin>) -> Response {
    Json(admin.status.all()).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::status::StoreStatus;

    async fn get(admin: &Admin, path: &str) -> (StatusCode, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router(admin.clone()).oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_lists_missing_conditions_and_liveness_ignores_them() {
        let admin = Admin::default();
        let store = admin.health.condition("mongodb");
        store.missing("connection refused");
        let expected = (StatusCode::SERVICE_UNAVAILABLE, "mongodb: connection refused\n".to_owned());
        assert_eq!(get(&admin, "/readyz").await, expected);
        assert_eq!(get(&admin, "/livez").await.0, StatusCode::OK);
        store.fulfilled();
        assert_eq!(get(&admin, "/readyz").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn serves_status_and_metrics() {
        let admin = Admin::default();
        admin.status.set("mongodb", StoreStatus { reachable: true, ..StoreStatus::default() });
        let (_, body) = get(&admin, "/status").await;
        assert_eq!(body, r#"{"mongodb":{"reachable":true,"authenticated":false,"migrated":false}}"#);
        assert_eq!(get(&admin, "/metrics").await.1, "# EOF\n");
    }
}
