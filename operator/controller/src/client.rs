//! The way to the API server, with a span for each request that changes something.

use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::core::Status;
use kube::{Client, Config, Error};
use tower::{Layer, Service};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

/// A client for where this process runs: inside a cluster, or as a kubeconfig says.
///
/// # Errors
/// When neither tells how to reach an API server.
pub async fn connect() -> Result<Client, Error> {
    let config = Config::infer().await.map_err(Error::InferConfig)?;
    Ok(ClientBuilder::try_from(config)?.with_layer(&TraceWrites).build())
}

/// Makes a span, below the pass that it belongs to, for each request that changes something.
#[derive(Clone, Copy, Debug)]
pub struct TraceWrites;

impl<S> Layer<S> for TraceWrites {
    type Service = TracedWrites<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TracedWrites(inner)
    }
}

/// See [`TraceWrites`].
#[derive(Clone, Debug)]
pub struct TracedWrites<S>(S);

impl<S, B> Service<Request<Body>> for TracedWrites<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let span = span(&request);
        let answer = self.0.call(request);
        if span.is_none() {
            return answer.boxed();
        }
        let recorded = span.clone();
        let told = async move {
            let answer = answer.await;
            match &answer {
                Ok(response) => {
                    recorded.record("http.response.status_code", response.status().as_u16());
                    if !response.status().is_success() {
                        failed(&recorded, response.status().as_str());
                    }
                }
                Err(_) => failed(&recorded, "transport"),
            }
            answer
        };
        told.instrument(span).boxed()
    }
}

fn failed(span: &Span, error: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", error);
}

/// None for what only reads.
fn span(request: &Request<Body>) -> Span {
    let verb = match *request.method() {
        Method::PATCH => "apply",
        Method::POST => "create",
        Method::PUT => "replace",
        Method::DELETE => "delete",
        _ => return Span::none(),
    };
    let (resource, object) = target(request.uri().path());
    tracing::info_span!(
        "write",
        otel.name = format!("{verb} {resource}"),
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.method = request.method().as_str(),
        http.response.status_code = Empty,
        weft.object = object,
        error.type = Empty,
    )
}

/// The kind, with its subresource, and the name (none when it is in the body) that a path is about.
fn target(path: &str) -> (String, String) {
    let mut parts = path.trim_matches('/').split('/').peekable();
    // `api/v1/…` or `apis/<group>/<version>/…`
    if parts.next() == Some("apis") {
        parts.next();
    }
    parts.next();
    let mut rest: Vec<&str> = parts.collect();
    if rest.first() == Some(&"namespaces") && rest.len() > 2 {
        rest.drain(..2);
    }
    let part = |index: usize| rest.get(index).copied().unwrap_or_default().to_owned();
    let resource = if rest.len() > 2 { format!("{}/{}", part(0), part(2)) } else { part(0) };
    (resource, part(1))
}

/// An error for people, with each cause once. Of what the API server answered it has only the message: kube's own text has that twice,
/// and then the whole answer in Rust's notation.
pub(crate) fn said(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let boxed = error.downcast_ref::<Box<Error>>().map(|error| &**error);
        let part = match error.downcast_ref::<Error>().or(boxed) {
            Some(Error::Api(status)) => {
                next = None;
                let Status { message, reason, code, .. } = &**status;
                if message.is_empty() { format!("{reason} ({code})") } else { message.clone() }
            }
            _ => {
                next = error.source();
                error.to_string()
            }
        };
        if !text.contains(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
    }
    text
}

/// True if an object was deleted, created again or changed since it was read, so that an apply with its uid was refused.
pub(crate) fn is_another(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    // The API server calls another uid an attempt to change it.
    let is_uid = causes.into_iter().any(|cause| cause.field == "metadata.uid");
    status.code == 404 || status.code == 409 || status.code == 422 && is_uid
}

#[cfg(test)]
mod tests {
    use kube::Error;
    use kube::core::Status;

    use super::{said, target};
    use crate::reconcile::apply::ApplyError;

    #[test]
    fn an_answer_of_the_api_server_is_said_once_and_plainly() {
        let message = "Deployment.apps \"broker\" is invalid: spec.replicas: Invalid value: -1";
        let refused = || Error::Api(Box::new(Status::failure(message, "Invalid").with_code(422)));
        let source = Box::new(refused());
        let error =
            ApplyError::Write { verb: "apply", kind: "Deployment", name: "broker".to_owned(), source };
        assert_eq!(said(&error), format!("failed to apply Deployment broker: {message}"));
        assert_eq!(said(&refused()), message);
        let silent = Error::Api(Box::new(Status::failure("", "Forbidden").with_code(403)));
        assert_eq!(said(&silent), "Forbidden (403)");
    }

    #[test]
    fn a_path_names_kind_and_object() {
        let of = |path: &str| {
            let (resource, object) = target(path);
            format!("{resource} {object}")
        };
        assert_eq!(of("/apis/apps/v1/namespaces/shop/deployments/broker"), "deployments broker");
        assert_eq!(of("/apis/weft.dev/v1alpha1/namespaces/shop/stacks/shop/status"), "stacks/status shop");
        assert_eq!(of("/api/v1/namespaces/shop/secrets"), "secrets ");
        assert_eq!(of("/api/v1/namespaces/shop"), "namespaces shop");
        assert_eq!(of("/"), " ");
    }
}
