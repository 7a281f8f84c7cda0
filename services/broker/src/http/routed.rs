//! Routes to the user's own services: see [`crate::forward`].

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, any};
use axum::{Extension, Router};

use super::parts::Shared;
use crate::client::Client;
use crate::forward::Forwarder;
use crate::reply::Problem;
use crate::routes::{Route, Routes};

/// A prefix matches itself and all paths below it, by whole segments: `/shop` does not match `/shopping`.
pub(super) fn router(Routes(routes): &Routes) -> Router<Shared> {
    routes.iter().fold(Router::new(), |router, route| {
        let Route { prefix, .. } = route;
        router
            .route(prefix, to(route))
            .route(&format!("{prefix}/"), to(route))
            .route(&format!("{prefix}/{{*rest}}"), to(route))
    })
}

fn to(route: &Route) -> MethodRouter<Shared> {
    let to = route.to.clone();
    any(
        move |State(forwarder): State<Arc<Forwarder>>,
              Extension(client): Extension<Client>,
              request: Request<Body>| async move {
            let reply = forwarder.send(&to, client, request).await;
            reply.unwrap_or_else(|error| -> Response { Problem(error).into_response() })
        },
    )
}

#[cfg(test)]
mod tests {
    use crate::http::described;
    use crate::routes::RESERVED;

    #[test]
    fn routes_cannot_shadow_paths_of_the_broker() {
        let (_, description) = described().split_for_parts();
        for path in description.paths.paths.keys().filter(|path| path.as_str() != "/") {
            let first = path.split('/').nth(1).unwrap();
            assert!(
                RESERVED.contains(&first),
                "{path}: add {first} to routes::RESERVED, and to the Stack's rule"
            );
        }
    }
}
