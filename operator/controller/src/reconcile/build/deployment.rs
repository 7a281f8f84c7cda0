//! A Deployment of one of the built-in services: what all six have in common.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Container, EnvVar, EnvVarSource, ObjectFieldSelector, PodTemplateSpec, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use serde_json::{Value, json};
use weft_operator_api::Service;

use super::placement::{self, Scale};
use super::pod::{self, Defaults, Pod, Rhythm};
use super::secret::UriSource;
use super::{Basis, meta};
use crate::names::{self, ADMIN_PORT};
use crate::reconcile::validate::{Run, TracingPlan, Validated};
use crate::view::ContentDigest;

/// Of the images that we build.
pub(super) const OUR_UID: i64 = 65532;
pub(super) const RESOURCES: Defaults = Defaults { cpu: ("10m", "2"), memory: ("32Mi", "256Mi") };
/// From the end of readiness until connections are refused: by then every node has taken the pod out of its Service.
const DRAIN_DELAY: &str = "3s";
/// The delay, then up to 20 s in which what is in flight ends, then up to 5 s for the last spans. No preStop hook is needed.
pub(super) const GRACE_S: i64 = 30;

/// What sets one service's pods apart from the others'.
#[derive(Default)]
pub(super) struct Wiring {
    ports: Vec<(&'static str, i32)>,
    env: Vec<EnvVar>,
    volumes: Vec<Volume>,
    mounts: Vec<VolumeMount>,
    inputs: Vec<ContentDigest>,
    /// What of the spec it follows from, beside what all services are told.
    facts: Vec<Value>,
}

impl Wiring {
    /// Something of the spec that these pods depend on. All of the spec that goes into a setting is named here too: what is
    /// not does not roll them.
    pub(super) fn told(mut self, fact: &impl Serialize) -> Self {
        self.facts.push(json!(fact));
        self
    }

    /// A port, and the setting that the service takes its address from.
    pub(super) fn port(mut self, name: &'static str, port: i32, setting: &str) -> Self {
        self.ports.push((name, port));
        self.set(setting, &format!("0.0.0.0:{port}"))
    }

    pub(super) fn set(mut self, name: &str, value: &str) -> Self {
        self.env.push(pod::env(name, value));
        self
    }

    /// Set where there is something to say.
    pub(super) fn set_some(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.set(name, &value.to_string()),
            None => self,
        }
    }

    /// Set unless the list is empty.
    pub(super) fn set_list(self, name: &str, values: &[impl AsRef<str>]) -> Self {
        let joined = values.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(",");
        self.set_some(name, (!joined.is_empty()).then_some(joined))
    }

    pub(super) fn set_from(mut self, name: &str, secret: &str, key: &str) -> Self {
        self.env.push(pod::env_from_secret(name, secret, key));
        self
    }

    /// A key of a Secret as a file, whose path the setting holds.
    pub(super) fn file(mut self, setting: &str, folder: &str, secret: &str, key: &str, file: &str) -> Self {
        let path = format!("/etc/weft/{folder}");
        let (volume, mount) = pod::secret_files(folder, secret, &[(key, file)], &path);
        self.volumes.push(volume);
        self.mounts.push(mount);
        self.set(setting, &format!("{path}/{file}"))
    }

    /// The URI of a store.
    pub(super) fn store(self, setting: &str, store: &str, uri: Option<UriSource>) -> Self {
        let Some(UriSource { secret, key, digest }) = uri else { return self };
        self.told(&[store, &secret, &key]).file(setting, store, &secret, &key, "uri").input(digest)
    }

    pub(super) fn config_map(mut self, setting: &str, folder: &str, config_map: &str) -> Self {
        let path = format!("/etc/weft/{folder}");
        let (volume, mount) = pod::config_map_files(folder, config_map, &path);
        self.volumes.push(volume);
        self.mounts.push(mount);
        self.set(setting, &path)
    }

    /// Something whose change rolls the pods.
    pub(super) fn input(mut self, digest: ContentDigest) -> Self {
        self.inputs.push(digest);
        self
    }
}

pub(super) fn service(stack: &Validated, run: &Run, name: &str, wiring: Wiring) -> (Deployment, Basis) {
    let Run { image, spec } = run;
    let Service { restarted_at, resources, env, labels, .. } = spec;
    let basis = basis(stack, run, &wiring);
    let Wiring { ports, env: own, volumes, mounts, inputs, facts: _ } = wiring;
    let mut variables = surroundings(stack);
    variables.extend(own);
    variables.extend(env.iter().map(|wanted| pod::env(&wanted.name, &wanted.value)));
    let mut all_ports = pod::ports(&ports);
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
    let mut labels = labels.clone();
    labels.insert("app.kubernetes.io/version".to_owned(), stack.version.clone());
    let restarted_at = restarted_at.clone();
    let pod = Pod { name, uid: OUR_UID, container, volumes, inputs, labels, grace_s: GRACE_S, restarted_at };
    let mut template = pod.template(stack);
    placement::spread(&mut template, stack, name);
    placement::place(&mut template, spec);
    (build(stack, name, scale(spec).written(), template, rolling()), basis)
}

/// How many pods a service has.
pub(super) fn scale(spec: &Service) -> Scale<'_> {
    Scale { replicas: spec.replicas(), autoscaling: spec.autoscaling.as_ref() }
}

/// All that a user decides of these pods. How many there are, and who may call them, rolls none.
fn basis(stack: &Validated, run: &Run, wiring: &Wiring) -> Basis {
    let allow_from = Vec::new();
    let service = Service {
        enabled: None,
        replicas: None,
        paused: None,
        autoscaling: None,
        allow_from,
        ..run.spec.clone()
    };
    Basis::of(&json!({
        "version": stack.version,
        "image": run.image,
        "service": service,
        "restartedAt": stack.life.restarted_at,
        "tracing": traced(stack),
        "facts": wiring.facts,
        "inputs": wiring.inputs.iter().map(|digest| &digest.0).collect::<Vec<_>>(),
    }))
}

/// What of tracing pods are told.
pub(super) fn traced(stack: &Validated) -> Value {
    let TracingPlan { endpoint, jaeger, ratio, query: _, trust_incoming: _ } = &stack.tracing;
    let collector = endpoint.as_ref().filter(|_| jaeger.is_none());
    json!([jaeger.is_some(), collector, ratio])
}

/// A Deployment of these pods.
pub(super) fn build(
    stack: &Validated,
    name: &str,
    replicas: impl Into<Option<i32>>,
    template: PodTemplateSpec,
    strategy: DeploymentStrategy,
) -> Deployment {
    let selector =
        LabelSelector { match_labels: Some(names::selector(name, &stack.name)), ..LabelSelector::default() };
    let spec = DeploymentSpec {
        replicas: replicas.into(),
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
pub(super) fn rolling() -> DeploymentStrategy {
    let update = RollingUpdateDeployment {
        max_surge: Some(IntOrString::Int(1)),
        max_unavailable: Some(IntOrString::Int(0)),
    };
    DeploymentStrategy { type_: Some("RollingUpdate".to_owned()), rolling_update: Some(update) }
}

/// What every service is told of where it runs.
fn surroundings(stack: &Validated) -> Vec<EnvVar> {
    let mut env = tracing(stack);
    // Behind the pod's name, to which others refer.
    let own = [
        pod::env("WEFT_ADMIN_ADDR", &format!("0.0.0.0:{ADMIN_PORT}")),
        pod::env("WEFT_DRAIN_DELAY", DRAIN_DELAY),
        pod::env("WEFT_MESH_SECURITY", "plaintext"),
        pod::env("WEFT_MESH_DOMAIN", &names::domain(&stack.namespace)),
    ];
    env.splice(1..1, own);
    env
}

/// What OpenTelemetry's libraries are told, ours and the user's.
pub(super) fn tracing(stack: &Validated) -> Vec<EnvVar> {
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
        pod::env("OTEL_RESOURCE_ATTRIBUTES", &attributes),
        pod::env("OTEL_TRACES_SAMPLER_ARG", &stack.tracing.ratio.to_string()),
    ];
    env.extend(
        stack.tracing.endpoint.iter().map(|endpoint| pod::env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)),
    );
    env
}
