//! The user's own services: as ours as they can be, since we don't know their images.

use k8s_openapi::api::core::v1::{
    ConfigMapEnvSource, Container, EnvFromSource, EnvVar, GRPCAction, HTTPGetAction, LocalObjectReference,
    Probe, SecretEnvSource, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::json;
use weft_operator_api::{EnvFrom, LocalReference, ProbeType, Probes, Protocol, Workload};

use super::placement::{self, Scale};
use super::pod::{self, Pod};
use super::{Basis, Plan, deployment, service};
use crate::names;
use crate::reconcile::validate::{Validated, WorkloadPlan};

pub(super) fn add(plan: &mut Plan, stack: &Validated) {
    for workload in &stack.workloads {
        add_one(plan, stack, workload);
    }
}

fn add_one(plan: &mut Plan, stack: &Validated, workload: &WorkloadPlan) {
    let WorkloadPlan { spec, inputs } = workload;
    let name = spec.name.as_str();
    let (tmp, tmp_mount) = pod::scratch("tmp", "/tmp");
    let container = Container { volume_mounts: Some(vec![tmp_mount]), ..container(stack, spec) };
    let pod = Pod {
        name,
        uid: 0,
        container,
        volumes: vec![tmp],
        inputs: inputs.clone(),
        labels: Default::default(),
        grace_s: deployment::GRACE_S,
        restarted_at: None,
    };
    let mut template = pod.template(stack);
    placement::spread(&mut template, stack, name);
    let pod_spec = template.spec.get_or_insert_default();
    pod_spec.security_context = Some(pod::pod_security(spec.run_as_user));
    for LocalReference { name } in &spec.image_pull_secrets {
        let all = pod_spec.image_pull_secrets.get_or_insert_default();
        // An apply with a name that is there twice is refused.
        if !all.iter().any(|known| known.name == *name) {
            all.push(LocalObjectReference { name: name.clone() });
        }
    }
    let scale = Scale { replicas: spec.replicas.unwrap_or(1), autoscaling: spec.autoscaling.as_ref() };
    let rolling = deployment::rolling();
    plan.deployments.push(deployment::build(stack, name, scale.written(), template, rolling));
    placement::keep(plan, stack, name, &scale);
    plan.bases.insert(name.to_owned(), basis(stack, workload));
    plan.services.extend(spec.port.map(|port| service::build(stack, name, &[(port_name(spec), port)])));
}

/// All that a user decides of these pods. How many there are, and who may call them, rolls none.
fn basis(stack: &Validated, workload: &WorkloadPlan) -> Basis {
    let WorkloadPlan { spec, inputs } = workload;
    let allow_from = Vec::new();
    let spec = Workload { replicas: None, autoscaling: None, allow_from, ..spec.clone() };
    let inputs: Vec<_> = inputs.iter().map(|digest| &digest.0).collect();
    Basis::of(&json!([spec, inputs, deployment::traced(stack), stack.life.restarted_at]))
}

fn port_name(spec: &Workload) -> &'static str {
    match spec.protocol() {
        Protocol::Http => "http",
        Protocol::Grpc => "grpc",
    }
}

fn container(stack: &Validated, spec: &Workload) -> Container {
    let some = |texts: &Vec<String>| (!texts.is_empty()).then(|| texts.clone());
    let Probes { startup, readiness, liveness } = spec.probes.clone().unwrap_or_default();
    let asked = |wanted: Option<weft_operator_api::Probe>| wanted.and_then(|wanted| probe(spec, &wanted));
    let env_from: Vec<_> = spec.env_from.iter().map(env_from).collect();
    Container {
        image: Some(spec.image.clone()),
        command: some(&spec.command),
        args: some(&spec.args),
        env: Some(env(stack, spec)),
        env_from: (!env_from.is_empty()).then_some(env_from),
        ports: spec.port.map(|port| pod::ports(&[(port_name(spec), port)])),
        resources: Some(pod::resources(&deployment::RESOURCES, spec.resources.as_ref())),
        security_context: Some(pod::security(spec.read_only_root_filesystem.unwrap_or(false))),
        startup_probe: asked(startup),
        readiness_probe: asked(readiness).or_else(|| takes_connections(spec)),
        liveness_probe: asked(liveness),
        ..Container::default()
    }
}

/// What OpenTelemetry's libraries read, unless the user says otherwise, and the user's own.
fn env(stack: &Validated, spec: &Workload) -> Vec<EnvVar> {
    let told = deployment::tracing(stack).into_iter().chain([pod::env("OTEL_SERVICE_NAME", &spec.name)]);
    let is_theirs = |name: &str| spec.env.iter().any(|wanted| wanted.name == name);
    let mut env: Vec<_> = told.filter(|variable| !is_theirs(&variable.name)).collect();
    env.extend(spec.env.iter().map(|wanted| pod::env(&wanted.name, &wanted.value)));
    env
}

fn env_from(wanted: &EnvFrom) -> EnvFromSource {
    let EnvFrom { secret_ref, config_map_ref, prefix } = wanted;
    let name = |reference: &LocalReference| reference.name.clone();
    EnvFromSource {
        secret_ref: secret_ref.as_ref().map(|found| SecretEnvSource { name: name(found), optional: None }),
        config_map_ref: config_map_ref
            .as_ref()
            .map(|found| ConfigMapEnvSource { name: name(found), optional: None }),
        prefix: prefix.clone(),
    }
}

fn takes_connections(spec: &Workload) -> Option<Probe> {
    spec.port?;
    Some(pod::tcp_probe(port_name(spec), &pod::Rhythm { period_s: 2, failures: 2 }))
}

fn probe(spec: &Workload, wanted: &weft_operator_api::Probe) -> Option<Probe> {
    let weft_operator_api::Probe { type_, path, port, period_seconds, timeout_seconds, failure_threshold } =
        wanted;
    let port = port.or(spec.port)?;
    let mut probe = Probe {
        period_seconds: Some(period_seconds.unwrap_or(10)),
        timeout_seconds: Some(timeout_seconds.unwrap_or(1)),
        failure_threshold: Some(failure_threshold.unwrap_or(3)),
        ..Probe::default()
    };
    match type_ {
        ProbeType::Http => {
            probe.http_get = Some(HTTPGetAction {
                path: Some(path.clone().unwrap_or_else(|| "/".to_owned())),
                port: IntOrString::Int(port),
                scheme: Some("HTTP".to_owned()),
                ..HTTPGetAction::default()
            });
        }
        ProbeType::Tcp => {
            probe.tcp_socket = Some(TCPSocketAction { port: IntOrString::Int(port), host: None });
        }
        ProbeType::Grpc => probe.grpc = Some(GRPCAction { port, service: Some(String::new()) }),
    }
    Some(probe)
}

/// `BROKER_ROUTES`: each prefix, and where it leads.
pub(super) fn routes(stack: &Validated) -> Vec<String> {
    let port = |to: &str| {
        let found = stack.workloads.iter().find(|workload| workload.spec.name == to);
        found.and_then(|workload| workload.spec.port)
    };
    let routes = stack.routes.iter().filter_map(|route| Some((route, port(&route.to)?)));
    routes
        .map(|(route, port)| {
            format!("{}=http://{}:{port}", route.prefix, names::host(&route.to, &stack.namespace))
        })
        .collect()
}
