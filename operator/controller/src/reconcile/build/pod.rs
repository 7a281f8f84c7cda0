//! What all pods share: the restricted profile, probes, resources, mounts.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EnvVar, EnvVarSource, HTTPGetAction,
    KeyToPath, LocalObjectReference, PodDNSConfig, PodDNSConfigOption, PodSecurityContext, PodSpec,
    PodTemplateSpec, Probe, ResourceRequirements, SeccompProfile, SecretKeySelector, SecretVolumeSource,
    SecurityContext, TCPSocketAction, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::ObjectMeta;
use weft_operator_api::{Moment, Resources};

use crate::names;
use crate::reconcile::validate::Validated;
use crate::view::ContentDigest;

/// One container and what surrounds it.
pub(super) struct Pod<'a> {
    pub(super) name: &'a str,
    pub(super) uid: i64,
    pub(super) container: Container,
    pub(super) volumes: Vec<Volume>,
    /// The ConfigMaps and Secrets in use.
    pub(super) inputs: Vec<ContentDigest>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) grace_s: i64,
    /// When a restart of this workload alone was asked for.
    pub(super) restarted_at: Option<Moment>,
}

impl Pod<'_> {
    pub(super) fn template(self, stack: &Validated) -> PodTemplateSpec {
        let Self { name, uid, container, volumes, inputs, labels: more, grace_s, restarted_at } = self;
        let mut labels = names::labels(name, &stack.name);
        labels.extend(more);
        let inputs = inputs.iter().map(|digest| digest.0.as_str()).collect::<Vec<_>>().join("-");
        let moments = [&stack.life.restarted_at, &restarted_at].into_iter().flatten();
        let moments = moments.map(|moment| moment.0.as_str()).collect::<Vec<_>>().join(",");
        let annotations = [(names::INPUTS, inputs), (names::RESTARTED_AT, moments)];
        let annotations = annotations.into_iter().filter(|(_, value)| !value.is_empty());
        let annotations: BTreeMap<_, _> = annotations.map(|(key, value)| (key.to_owned(), value)).collect();
        let annotations = (!annotations.is_empty()).then_some(annotations);
        let spec = PodSpec {
            service_account_name: Some(name.to_owned()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            termination_grace_period_seconds: Some(grace_s),
            security_context: Some(pod_security(Some(uid))),
            dns_config: Some(dns()),
            containers: vec![Container { name: name.to_owned(), ..container }],
            volumes: (!volumes.is_empty()).then_some(volumes),
            image_pull_secrets: pull_secrets(&stack.pull_secrets),
            ..PodSpec::default()
        };
        let metadata = ObjectMeta { labels: Some(labels), annotations, ..ObjectMeta::default() };
        PodTemplateSpec { metadata: Some(metadata), spec: Some(spec) }
    }
}

fn pull_secrets(names: &[String]) -> Option<Vec<LocalObjectReference>> {
    let secrets = names.iter().map(|name| LocalObjectReference { name: name.clone() });
    (!names.is_empty()).then(|| secrets.collect())
}

/// Without a user the image's counts, which must not be root either.
pub(super) fn pod_security(uid: Option<i64>) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: uid,
        run_as_group: uid,
        fs_group: uid,
        fs_group_change_policy: uid.map(|_| "OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            ..SeccompProfile::default()
        }),
        ..PodSecurityContext::default()
    }
}

/// Our names have four dots: asked for as they stand, instead of behind each search domain first.
fn dns() -> PodDNSConfig {
    let ndots = PodDNSConfigOption { name: Some("ndots".to_owned()), value: Some("2".to_owned()) };
    PodDNSConfig { options: Some(vec![ndots]), ..PodDNSConfig::default() }
}

/// The restricted profile. The root file system of an image that is not ours may have to be written.
pub(super) fn security(read_only_root: bool) -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        privileged: Some(false),
        read_only_root_filesystem: Some(read_only_root),
        run_as_non_root: Some(true),
        ..SecurityContext::default()
    }
}

pub(super) fn ports(ports: &[(&str, i32)]) -> Vec<ContainerPort> {
    let port = |(name, port): &(&str, i32)| ContainerPort {
        name: Some((*name).to_owned()),
        container_port: *port,
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    };
    ports.iter().map(port).collect()
}

pub(super) fn env(name: &str, value: &str) -> EnvVar {
    // The API server keeps no empty value, and it would never be seen as it was applied.
    let value = (!value.is_empty()).then(|| value.to_owned());
    EnvVar { name: name.to_owned(), value, value_from: None }
}

pub(super) fn env_from_secret(name: &str, secret: &str, key: &str) -> EnvVar {
    let selector = SecretKeySelector { name: secret.to_owned(), key: key.to_owned(), optional: None };
    let source = EnvVarSource { secret_key_ref: Some(selector), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
}

/// How often, how long, how many failures.
pub(super) struct Rhythm {
    pub(super) period_s: i32,
    pub(super) failures: i32,
}

pub(super) fn http_probe(path: &str, port: &str, rhythm: &Rhythm) -> Probe {
    let get = HTTPGetAction {
        path: Some(path.to_owned()),
        port: IntOrString::String(port.to_owned()),
        scheme: Some("HTTP".to_owned()),
        ..HTTPGetAction::default()
    };
    Probe { http_get: Some(get), ..probe(rhythm) }
}

pub(super) fn tcp_probe(port: &str, rhythm: &Rhythm) -> Probe {
    let socket = TCPSocketAction { port: IntOrString::String(port.to_owned()), host: None };
    Probe { tcp_socket: Some(socket), ..probe(rhythm) }
}

fn probe(rhythm: &Rhythm) -> Probe {
    Probe {
        period_seconds: Some(rhythm.period_s),
        failure_threshold: Some(rhythm.failures),
        timeout_seconds: Some(2),
        ..Probe::default()
    }
}

/// What a container asks for and may take, unless the Stack says otherwise.
pub(super) struct Defaults {
    pub(super) cpu: (&'static str, &'static str),
    pub(super) memory: (&'static str, &'static str),
}

pub(super) fn resources(defaults: &Defaults, wanted: Option<&Resources>) -> ResourceRequirements {
    let Resources { requests, limits } = wanted.cloned().unwrap_or_default();
    let (requests, limits) = (requests.unwrap_or_default(), limits.unwrap_or_default());
    let cpu = request_and_limit(defaults.cpu, requests.cpu, limits.cpu);
    let memory = request_and_limit(defaults.memory, requests.memory, limits.memory);
    let list = |cpu, memory| Some([("cpu".to_owned(), cpu), ("memory".to_owned(), memory)].into());
    ResourceRequirements {
        requests: list(cpu.0, memory.0),
        limits: list(cpu.1, memory.1),
        ..ResourceRequirements::default()
    }
}

/// A request above the default limit is the limit too, and a limit below the default request is the request too.
fn request_and_limit(
    (request, limit): (&str, &str),
    wanted_request: Option<weft_operator_api::Quantity>,
    wanted_limit: Option<weft_operator_api::Quantity>,
) -> (Quantity, Quantity) {
    let [request, limit] = [request, limit].map(weft_operator_api::Quantity::new);
    let (request, limit) = match (wanted_request, wanted_limit) {
        (Some(wanted), None) if wanted.amount() > limit.amount() => (wanted.clone(), wanted),
        (None, Some(wanted)) if wanted.amount() < request.amount() => (wanted.clone(), wanted),
        (wanted_request, wanted_limit) => (wanted_request.unwrap_or(request), wanted_limit.unwrap_or(limit)),
    };
    (Quantity(request.0), Quantity(limit.0))
}

/// These keys of a Secret, as files in this folder.
pub(super) fn secret_files(
    name: &str,
    secret: &str,
    keys: &[(&str, &str)],
    folder: &str,
) -> (Volume, VolumeMount) {
    let item = |(key, path): &(&str, &str)| KeyToPath {
        key: (*key).to_owned(),
        path: (*path).to_owned(),
        mode: None,
    };
    let source = SecretVolumeSource {
        secret_name: Some(secret.to_owned()),
        items: Some(keys.iter().map(item).collect()),
        // Readable by the pod's group, which fsGroup makes ours.
        default_mode: Some(0o440),
        ..SecretVolumeSource::default()
    };
    let volume = Volume { name: name.to_owned(), secret: Some(source), ..Volume::default() };
    (volume, VolumeMount { read_only: Some(true), ..mount(name, folder) })
}

/// Every key of a ConfigMap, as files in this folder.
pub(super) fn config_map_files(name: &str, config_map: &str, folder: &str) -> (Volume, VolumeMount) {
    let source = ConfigMapVolumeSource { name: config_map.to_owned(), ..ConfigMapVolumeSource::default() };
    let volume = Volume { name: name.to_owned(), config_map: Some(source), ..Volume::default() };
    (volume, VolumeMount { read_only: Some(true), ..mount(name, folder) })
}

pub(super) fn scratch(name: &str, folder: &str) -> (Volume, VolumeMount) {
    let volume = Volume { name: name.to_owned(), empty_dir: Some(Default::default()), ..Volume::default() };
    (volume, mount(name, folder))
}

pub(super) fn mount(name: &str, folder: &str) -> VolumeMount {
    VolumeMount { name: name.to_owned(), mount_path: folder.to_owned(), ..VolumeMount::default() }
}
