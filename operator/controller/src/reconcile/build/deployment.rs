//! The built-in services.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Container, EnvVar, EnvVarSource, ObjectFieldSelector, PodTemplateSpec, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use weft_operator_api::Service;

use super::meta;
use super::pod::{self, Defaults, Pod, Rhythm};
use super::{mongodb, rabbitmq, secret::UriSource};
use crate::names::{self, ADMIN_PORT, BROKER, GRPC_PORT, HTTP_PORT, LISTENER, LOGGER};
use crate::reconcile::validate::{Run, Validated};

/// Of the images that we build.
const OUR_UID: i64 = 65532;
const RESOURCES: Defaults = Defaults { cpu: ("10m", "2"), memory: ("32Mi", "256Mi") };
/// Processes drain for up to 20 s and then flush; they need no preStop hook.
const GRACE_S: i64 = 30;

pub(super) fn broker(stack: &Validated, run: &Run) -> Deployment {
    let mut env = vec![pod::env("WEFT_HTTP_ADDR", &format!("0.0.0.0:{HTTP_PORT}"))];
    let trust = stack.tracing.trust_incoming.to_string();
    env.push(pod::env("BROKER_TRUST_INCOMING_TRACES", &trust));
    let store = rabbitmq::uri(stack).map(|uri| ("AMQP_URI_FILE", "rabbitmq", uri));
    service(stack, run, BROKER, &[("http", HTTP_PORT)], env, store)
}

pub(super) fn logger(stack: &Validated, run: &Run) -> Deployment {
    let env = vec![pod::env("WEFT_GRPC_ADDR", &format!("0.0.0.0:{GRPC_PORT}"))];
    let store = mongodb::uri(stack).map(|uri| ("MONGODB_URI_FILE", "mongodb", uri));
    service(stack, run, LOGGER, &[("grpc", GRPC_PORT)], env, store)
}

pub(super) fn listener(stack: &Validated, run: &Run) -> Deployment {
    let store = rabbitmq::uri(stack).map(|uri| ("AMQP_URI_FILE", "rabbitmq", uri));
    service(stack, run, LISTENER, &[], Vec::new(), store)
}

fn service(
    stack: &Validated,
    run: &Run,
    name: &str,
    ports: &[(&str, i32)],
    own: Vec<EnvVar>,
    store: Option<(&str, &str, UriSource)>,
) -> Deployment {
    let Run { image, spec: Service { enabled: _, replicas: _, resources, env } } = run;
    let mut variables = surroundings(stack);
    variables.extend(own);
    let (mut volumes, mut mounts, mut inputs) = (Vec::<Volume>::new(), Vec::<VolumeMount>::new(), Vec::new());
    if let Some((variable, folder, UriSource { secret, key, digest })) = store {
        let path = format!("/etc/weft/{folder}");
        let (volume, mount) = pod::secret_files(folder, &secret, &[(&key, "uri")], &path);
        variables.push(pod::env(variable, &format!("{path}/uri")));
        volumes.push(volume);
        mounts.push(mount);
        inputs.push(digest);
    }
    for wanted in env {
        variables.push(pod::env(&wanted.name, &wanted.value));
    }
    let mut all_ports = pod::ports(ports);
    all_ports.extend(pod::ports(&[("admin", ADMIN_PORT)]));
    let container = Container {
        image: Some(image.clone()),
        env: Some(variables),
        ports: Some(all_ports),
        resources: Some(pod::resources(&RESOURCES, resources.as_ref())),
        security_context: Some(pod::security(true)),
        startup_probe: Some(pod::http_probe("/livez", "admin", &Rhythm { period_s: 1, failures: 60 })),
        liveness_probe: Some(pod::http_probe("/livez", "admin", &Rhythm { period_s: 10, failures: 3 })),
        readiness_probe: Some(pod::http_probe("/readyz", "admin", &Rhythm { period_s: 2, failures: 2 })),
        volume_mounts: (!mounts.is_empty()).then_some(mounts),
        ..Container::default()
    };
    let labels = [("app.kubernetes.io/version".to_owned(), stack.version.clone())].into();
    let pod = Pod { name, uid: OUR_UID, container, volumes, inputs, labels, grace_s: GRACE_S };
    build(stack, name, run.spec.replicas(), pod.template(stack), rolling())
}

/// A Deployment of these pods.
pub(super) fn build(
    stack: &Validated,
    name: &str,
    replicas: i32,
    template: PodTemplateSpec,
    strategy: DeploymentStrategy,
) -> Deployment {
    let selector =
        LabelSelector { match_labels: Some(names::selector(name, &stack.name)), ..LabelSelector::default() };
    let spec = DeploymentSpec {
        replicas: Some(replicas),
        selector,
        template,
        strategy: Some(strategy),
        revision_history_limit: Some(2),
        progress_deadline_seconds: Some(300),
        ..DeploymentSpec::default()
    };
    Deployment { metadata: meta::owned(stack, name), spec: Some(spec), ..Deployment::default() }
}

/// A pod goes only after its successor is ready.
fn rolling() -> DeploymentStrategy {
    let update = RollingUpdateDeployment {
        max_surge: Some(IntOrString::Int(1)),
        max_unavailable: Some(IntOrString::Int(0)),
    };
    DeploymentStrategy { type_: Some("RollingUpdate".to_owned()), rolling_update: Some(update) }
}

/// What every service is told of where it runs.
fn surroundings(stack: &Validated) -> Vec<EnvVar> {
    let Validated { namespace, name, .. } = stack;
    let pod_name =
        ObjectFieldSelector { api_version: Some("v1".to_owned()), field_path: "metadata.name".to_owned() };
    let pod_name = EnvVarSource { field_ref: Some(pod_name), ..EnvVarSource::default() };
    let attributes = format!(
        "service.namespace={name},k8s.namespace.name={namespace},k8s.pod.name=$(POD_NAME),service.instance.id=$(POD_NAME)"
    );
    let mut env = vec![
        // Before those that refer to it.
        EnvVar { name: "POD_NAME".to_owned(), value: None, value_from: Some(pod_name) },
        pod::env("WEFT_ADMIN_ADDR", &format!("0.0.0.0:{ADMIN_PORT}")),
        pod::env("WEFT_MESH_SECURITY", "plaintext"),
        pod::env("WEFT_MESH_DOMAIN", &names::domain(namespace)),
        pod::env("OTEL_RESOURCE_ATTRIBUTES", &attributes),
        pod::env("OTEL_TRACES_SAMPLER_ARG", &stack.tracing.ratio.to_string()),
    ];
    env.extend(
        stack.tracing.endpoint.iter().map(|endpoint| pod::env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)),
    );
    env
}
