//! One origin for the console and the broker.

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule, IngressServiceBackend,
    IngressSpec, IngressTLS, ServiceBackendPort,
};
use weft_operator_api::Expose;

use super::{Plan, meta};
use crate::names::{BROKER, FRONTEND};
use crate::reconcile::validate::Validated;

/// The broker's own paths, and whether what is below them is its own too.
const BROKER_PATHS: [(&str, &str); 6] = [
    ("/v1", "Prefix"),
    ("/.well-known", "Prefix"),
    ("/handle", "Exact"),
    ("/log-grpc", "Exact"),
    ("/logout", "Exact"),
    ("/ping", "Exact"),
];

pub(super) fn add(plan: &mut Plan, stack: &Validated, expose: &Expose) {
    let paths = paths(stack);
    if !paths.is_empty() {
        plan.ingresses.push(build(stack, expose, paths));
    }
}

fn paths(stack: &Validated) -> Vec<HTTPIngressPath> {
    let mut paths = Vec::new();
    if stack.broker.is_some() {
        let routes = stack.routes.iter().map(|route| (route.prefix.as_str(), "Prefix"));
        let own = BROKER_PATHS.into_iter().chain(routes);
        paths.extend(own.map(|(prefix, type_)| path(prefix, type_, BROKER)));
    }
    // Without a console the broker answers what is left.
    let rest = [(FRONTEND, &stack.frontend), (BROKER, &stack.broker)];
    let rest = rest.into_iter().find(|(_, run)| run.is_some());
    paths.extend(rest.map(|(name, _)| path("/", "Prefix", name)));
    paths
}

fn path(path: &str, type_: &str, service: &str) -> HTTPIngressPath {
    let port = ServiceBackendPort { name: Some("http".to_owned()), number: None };
    let service = IngressServiceBackend { name: service.to_owned(), port: Some(port) };
    HTTPIngressPath {
        path: Some(path.to_owned()),
        path_type: type_.to_owned(),
        backend: IngressBackend { service: Some(service), resource: None },
    }
}

fn build(stack: &Validated, expose: &Expose, paths: Vec<HTTPIngressPath>) -> Ingress {
    let Expose { host, tls, ingress_class } = expose;
    let rule = IngressRule { host: Some(host.clone()), http: Some(HTTPIngressRuleValue { paths }) };
    let tls = tls.as_ref().map(|tls| IngressTLS {
        hosts: Some(vec![host.clone()]),
        secret_name: Some(tls.secret_name.clone()),
    });
    let spec = IngressSpec {
        ingress_class_name: ingress_class.clone(),
        rules: Some(vec![rule]),
        tls: tls.map(|tls| vec![tls]),
        ..IngressSpec::default()
    };
    Ingress { metadata: meta::owned(stack, &stack.name), spec: Some(spec), ..Ingress::default() }
}
