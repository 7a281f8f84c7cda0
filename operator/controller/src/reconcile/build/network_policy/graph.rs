//! Who calls whom.

use weft_operator_api::Workload;

use crate::names::{
    AMQP_PORT, AUTHENTICATION, BROKER, FRONTEND, GRPC_PORT, HTTP_PORT, JAEGER, JAEGER_QUERY_PORT, LISTENER,
    LOGGER, MAIL, MAILCATCHER, MANAGEMENT_PORT, MONGODB, MONGODB_PORT, OTLP_GRPC_PORT, OTLP_HTTP_PORT,
    POSTGRES, POSTGRES_PORT, RABBITMQ, SMTP_PORT,
};
use crate::reconcile::validate::{Run, SmtpPlan, StorePlan, Validated};

pub(super) const SERVICES: [&str; 6] = [BROKER, AUTHENTICATION, LOGGER, MAIL, LISTENER, FRONTEND];

/// What the built-in services need of each other and of the stores, whatever the Stack says.
const BUILT_IN: [(&str, &str, i32); 12] = [
    (BROKER, AUTHENTICATION, GRPC_PORT),
    (BROKER, LOGGER, GRPC_PORT),
    (AUTHENTICATION, LOGGER, GRPC_PORT),
    (AUTHENTICATION, MAIL, GRPC_PORT),
    (LISTENER, LOGGER, GRPC_PORT),
    (LISTENER, MAIL, GRPC_PORT),
    (BROKER, RABBITMQ, AMQP_PORT),
    (LISTENER, RABBITMQ, AMQP_PORT),
    (LOGGER, MONGODB, MONGODB_PORT),
    (AUTHENTICATION, POSTGRES, POSTGRES_PORT),
    (MAIL, MAILCATCHER, SMTP_PORT),
    (BROKER, JAEGER, JAEGER_QUERY_PORT),
];

/// One calls another.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) ports: Vec<i32>,
}

/// Something outside the cluster, or elsewhere in it: where is in a Secret, or may change.
pub(super) struct Outside {
    /// None: we don't know that either.
    pub(super) port: Option<i32>,
}

pub(super) fn calls(stack: &Validated) -> Vec<Call> {
    let mut calls = Vec::new();
    let mut add = |from: &str, to: &str, ports: &[i32]| {
        let call = Call { from: from.to_owned(), to: to.to_owned(), ports: ports.to_vec() };
        if !calls.contains(&call) {
            calls.push(call);
        }
    };
    for (from, to, port) in BUILT_IN {
        add(from, to, &[port]);
    }
    let workloads = || stack.workloads.iter().map(|workload| &workload.spec);
    for name in SERVICES.into_iter().chain(workloads().map(|spec| spec.name.as_str())) {
        add(name, JAEGER, &[OTLP_GRPC_PORT, OTLP_HTTP_PORT]);
    }
    for Workload { name, port, allow_from, .. } in workloads() {
        let routed = stack.routes.iter().any(|route| route.to == *name).then_some(BROKER);
        for from in allow_from.iter().map(String::as_str).chain(routed) {
            if let Some(port) = port {
                add(from, name, &[*port]);
            }
        }
    }
    for (name, run, port) in faces(stack) {
        for from in run.iter().flat_map(|run| &run.spec.allow_from) {
            add(from, name, &[port]);
        }
    }
    calls
}

/// The services that can be called, and where.
fn faces(stack: &Validated) -> [(&'static str, &Option<Run>, i32); 5] {
    let Validated { broker, authentication, logger, mail, frontend, .. } = stack;
    [
        (BROKER, broker, HTTP_PORT),
        (AUTHENTICATION, authentication, GRPC_PORT),
        (LOGGER, logger, GRPC_PORT),
        (MAIL, mail, GRPC_PORT),
        (FRONTEND, frontend, HTTP_PORT),
    ]
}

/// The ports of a store that we run; none of anything else.
pub(super) fn store_ports(name: &str) -> &'static [i32] {
    match name {
        MONGODB => &[MONGODB_PORT],
        RABBITMQ => &[AMQP_PORT, MANAGEMENT_PORT],
        POSTGRES => &[POSTGRES_PORT],
        _ => &[],
    }
}

/// What a service calls that the operator does not run.
pub(super) fn outside(stack: &Validated, name: &str) -> Vec<Outside> {
    fn is_external<I>(store: &Option<StorePlan<I>>) -> bool {
        matches!(store, Some(StorePlan::External(_)))
    }
    let store = match name {
        LOGGER => is_external(&stack.mongodb),
        AUTHENTICATION => is_external(&stack.postgres),
        BROKER | LISTENER => is_external(&stack.rabbitmq),
        _ => false,
    };
    let mut found: Vec<_> = store.then_some(Outside { port: None }).into_iter().collect();
    if let (MAIL, Some(SmtpPlan::External { port, .. })) = (name, &stack.smtp) {
        found.push(Outside { port: Some(*port) });
    }
    let collector = stack.tracing.endpoint.as_deref().filter(|_| stack.tracing.jaeger.is_none());
    if let Some(endpoint) = collector.filter(|_| SERVICES.contains(&name)) {
        let port = endpoint.trim_end_matches('/').rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        found.push(Outside { port });
    }
    found
}
