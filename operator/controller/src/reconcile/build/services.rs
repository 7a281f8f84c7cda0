//! The six built-in services: what each is told, and how it is reached.

use k8s_openapi::api::apps::v1::Deployment;
use weft_operator_api::{Console, Expose, Limits, OpenAction};

use super::deployment::{self, Wiring};
use super::{
    Plan, admin, encryption, mailcatcher, mongodb, placement, postgres, rabbitmq, service, workloads,
};
use crate::names::{AUTHENTICATION, BROKER, FRONTEND, GRPC_PORT, HTTP_PORT, LISTENER, LOGGER, MAIL};
use crate::reconcile::validate::{EdgePlan, Run, Sender, Templates, Validated};

pub(super) fn add(plan: &mut Plan, stack: &Validated) {
    let Validated { broker, authentication, logger, mail, listener, frontend, .. } = stack;
    let mut run = |name: &str, run: &Option<Run>, wire: fn(&Validated) -> Wiring| {
        let Some(run) = run else { return };
        let (deployment, basis) = deployment::service(stack, run, name, wire(stack));
        plan.deployments.push(deployment);
        plan.bases.insert(name.to_owned(), basis);
        placement::keep(plan, stack, name, &deployment::scale(&run.spec));
    };
    run(BROKER, broker, wire_broker);
    run(AUTHENTICATION, authentication, wire_authentication);
    run(LOGGER, logger, wire_logger);
    run(MAIL, mail, wire_mail);
    run(LISTENER, listener, wire_listener);
    run(FRONTEND, frontend, wire_frontend);
    let runs = |name: &str| {
        let named = |object: &Deployment| object.metadata.name.as_deref() == Some(name);
        plan.deployments.iter().any(named)
    };
    let http = [BROKER, FRONTEND].into_iter().filter(|name| runs(name));
    let http: Vec<_> = http.map(|name| service::http(stack, name)).collect();
    let grpc = [AUTHENTICATION, LOGGER, MAIL].into_iter().filter(|name| runs(name));
    let grpc: Vec<_> = grpc.map(|name| service::grpc(stack, name)).collect();
    plan.services.extend(http.into_iter().chain(grpc));
}

fn wire_broker(stack: &Validated) -> Wiring {
    let EdgePlan { origins, trusted_proxies, limits, open_actions, console: _ } = &stack.edge;
    let Limits { requests_per_second, requests_burst, sign_in_burst: _, sign_in_per_minute: _ } = limits;
    let mut origins = origins.clone();
    let exposed = stack.expose.as_ref().map(Expose::origin);
    origins.extend(exposed.filter(|exposed| !stack.edge.origins.contains(exposed)));
    let open: Vec<_> = open_actions.iter().copied().map(OpenAction::as_str).collect();
    let ways = (workloads::routes(stack), cookie_security(stack));
    let wiring = serving_http()
        .told(&(&origins, trusted_proxies, &open))
        .told(&(requests_per_second, requests_burst, stack.tracing.trust_incoming))
        .set("BROKER_TRUST_INCOMING_TRACES", &stack.tracing.trust_incoming.to_string())
        .set("BROKER_TOKEN_ISSUER", &issuer(stack))
        .set_some("BROKER_JAEGER_URL", stack.tracing.query.as_deref())
        .set_list("BROKER_ORIGINS", &origins)
        .set_list("BROKER_ROUTES", &ways.0)
        .set_some("BROKER_COOKIE_SECURE", ways.1)
        .set_list("BROKER_TRUSTED_PROXIES", trusted_proxies)
        .set_list("BROKER_OPEN_ACTIONS", &open)
        .set_some("BROKER_REQUESTS_PER_SECOND", *requests_per_second)
        .set_some("BROKER_REQUESTS_BURST", *requests_burst)
        .store("AMQP_URI_FILE", "rabbitmq", rabbitmq::uri(stack));
    // A Stack that has neither is told what it was told before there were any: an upgrade rolls nothing.
    if ways.0.is_empty() && ways.1.is_none() { wiring } else { wiring.told(&ways) }
}

/// Under TLS the session's cookie is for https alone, unless the Stack says something else itself.
fn cookie_security(stack: &Validated) -> Option<&'static str> {
    stack.expose.as_ref()?.tls.as_ref()?;
    let theirs = &stack.broker.as_ref()?.spec.env;
    (!theirs.iter().any(|variable| variable.name == "BROKER_COOKIE_SECURE")).then_some("always")
}

fn wire_authentication(stack: &Validated) -> Wiring {
    let Limits { requests_per_second: _, requests_burst: _, sign_in_burst, sign_in_per_minute } =
        &stack.edge.limits;
    let wiring = serving_grpc()
        .told(&(sign_in_burst, sign_in_per_minute))
        .set("AUTH_ISSUER", &issuer(stack))
        .set_some("AUTH_SIGN_IN_BURST", *sign_in_burst)
        .set_some("AUTH_SIGN_IN_PER_MINUTE", *sign_in_per_minute)
        .store("DATABASE_URL_FILE", "postgres", postgres::uri(stack));
    encryption::wire(admin::wire(wiring, stack), stack)
}

fn wire_logger(stack: &Validated) -> Wiring {
    serving_grpc().store("MONGODB_URI_FILE", "mongodb", mongodb::uri(stack))
}

fn wire_mail(stack: &Validated) -> Wiring {
    let Sender { name, address } = &stack.sender;
    let wiring = serving_grpc().told(&(name, address)).set("FROM_NAME", name).set("FROM_ADDRESS", address);
    let wiring = mailcatcher::wire(wiring, stack);
    match &stack.templates {
        Some(Templates { config_map, digest }) => wiring
            .told(config_map)
            .config_map("MAIL_TEMPLATES_DIR", "templates", config_map)
            .input(digest.clone()),
        None => wiring,
    }
}

fn wire_listener(stack: &Validated) -> Wiring {
    Wiring::default().store("AMQP_URI_FILE", "rabbitmq", rabbitmq::uri(stack))
}

fn wire_frontend(stack: &Validated) -> Wiring {
    let Console { broker_url, jaeger_url } = &stack.edge.console;
    serving_http()
        .told(&(broker_url, jaeger_url))
        .set_some("FRONTEND_BROKER_URL", broker_url.as_deref())
        .set_some("FRONTEND_JAEGER_URL", jaeger_url.as_deref())
}

fn serving_http() -> Wiring {
    Wiring::default().port("http", HTTP_PORT, "WEFT_HTTP_ADDR")
}

fn serving_grpc() -> Wiring {
    Wiring::default().port("grpc", GRPC_PORT, "WEFT_GRPC_ADDR")
}

/// Who signs tokens: those of one Stack are worth nothing to another.
fn issuer(stack: &Validated) -> String {
    format!("weft:{}/{}", stack.namespace, stack.name)
}
