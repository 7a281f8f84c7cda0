//! Paths of the user's own services: see [`crate::proxy`].

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, any};

use crate::app::App;
use crate::client::Client;
use crate::proxy;
use crate::reply::Problem;
use crate::routes::{Route, Routes};

/// A prefix stands for itself and for what is below it: `/shop` is not the beginning of `/shopping`.
pub(super) fn router(Routes(routes): &Routes) -> Router<App> {
    routes.iter().fold(Router::new(), |router, route| {
        let Route { prefix, .. } = route;
        router
            .route(prefix, to(route))
            .route(&format!("{prefix}/"), to(route))
            .route(&format!("{prefix}/{{*rest}}"), to(route))
    })
}

fn to(route: &Route) -> MethodRouter<App> {
    let to = route.to.clone();
    any(move |State(app): State<App>, client: Client, request: Request<Body>| async move {
        let reply = proxy::forward(&app, &to, client, request).await;
        reply.unwrap_or_else(|error| -> Response { Problem(error).into_response() })
    })
}

#[cfg(test)]
mod tests {
    use crate::http::described;
    use crate::routes::OWN;

    #[test]
    fn no_route_can_stand_before_a_path_of_the_broker_s_own() {
        let (_, description) = described().split_for_parts();
        for path in description.paths.paths.keys().filter(|path| path.as_str() != "/") {
            let first = path.split('/').nth(1).unwrap();
            assert!(OWN.contains(&first), "{path}: add {first} to routes::OWN, and to the Stack's rule");
        }
    }
}
