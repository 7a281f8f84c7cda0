//! Jaeger, with traces in memory. Majors 1 and 2 are configured in different ways.

use k8s_openapi::api::apps::v1::DeploymentStrategy;
use k8s_openapi::api::core::v1::{ConfigMapVolumeSource, Container, Volume};
use serde_json::json;

use super::pod::{self, Defaults, Pod, Rhythm};
use super::{Basis, Plan, config_map, deployment, service};
use crate::installation::Jaeger;
use crate::names::{JAEGER, JAEGER_QUERY_PORT, OTLP_GRPC_PORT, OTLP_HTTP_PORT};
use crate::reconcile::validate::Validated;
use crate::view::ContentDigest;

/// Of the official image.
const UID: i64 = 10001;
/// Bounds the memory: a trace of ours takes about 10 KiB.
const MAX_TRACES: u32 = 20_000;
const RESOURCES: Defaults = Defaults { cpu: ("10m", "2"), memory: ("64Mi", "1Gi") };
const PORTS: [(&str, i32); 3] =
    [("otlp-grpc", OTLP_GRPC_PORT), ("otlp-http", OTLP_HTTP_PORT), ("query", JAEGER_QUERY_PORT)];
const FOLDER: &str = "/etc/jaeger";
const FILE: &str = "config.yaml";

pub(super) fn add(plan: &mut Plan, stack: &Validated, jaeger: &Jaeger) {
    let pod = if jaeger.major == 1 {
        first(jaeger)
    } else {
        let text = second_config();
        plan.config_maps.push(config_map::build(stack, JAEGER, &[(FILE, &text)]));
        second(jaeger, &text)
    };
    // Two would each hold half of the traces: the old one goes first.
    let strategy = DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None };
    // Its image goes with its major.
    plan.bases.insert(JAEGER.to_owned(), Basis::of(&json!([jaeger.major, stack.life.restarted_at])));
    plan.deployments.push(deployment::build(stack, JAEGER, 1, pod.template(stack), strategy));
    plan.services.push(service::build(stack, JAEGER, &PORTS));
}

fn first(jaeger: &Jaeger) -> Pod<'static> {
    let env = vec![
        pod::env("SPAN_STORAGE_TYPE", "memory"),
        pod::env("MEMORY_MAX_TRACES", &MAX_TRACES.to_string()),
        pod::env("COLLECTOR_OTLP_ENABLED", "true"),
        pod::env("COLLECTOR_OTLP_GRPC_HOST_PORT", &format!("0.0.0.0:{OTLP_GRPC_PORT}")),
        pod::env("COLLECTOR_OTLP_HTTP_HOST_PORT", &format!("0.0.0.0:{OTLP_HTTP_PORT}")),
    ];
    let container = Container { env: Some(env), ..container(jaeger, 14269, "/") };
    pod(container, Vec::new(), Vec::new())
}

fn second(jaeger: &Jaeger, text: &str) -> Pod<'static> {
    let map = ConfigMapVolumeSource { name: JAEGER.to_owned(), ..ConfigMapVolumeSource::default() };
    let volume = Volume { name: "config".to_owned(), config_map: Some(map), ..Volume::default() };
    let container = Container {
        args: Some(vec!["--config".to_owned(), format!("{FOLDER}/{FILE}")]),
        volume_mounts: Some(vec![pod::mount("config", FOLDER)]),
        ..container(jaeger, 13133, "/status")
    };
    pod(container, vec![volume], vec![ContentDigest::of([(&FILE.to_owned(), &text)])])
}

fn pod(container: Container, volumes: Vec<Volume>, inputs: Vec<ContentDigest>) -> Pod<'static> {
    Pod {
        name: JAEGER,
        uid: UID,
        container,
        volumes,
        inputs,
        labels: Default::default(),
        grace_s: 10,
        restarted_at: None,
    }
}

fn container(jaeger: &Jaeger, health_port: i32, health_path: &str) -> Container {
    let mut ports = pod::ports(&PORTS);
    ports.extend(pod::ports(&[("health", health_port)]));
    Container {
        image: Some(jaeger.image.clone()),
        ports: Some(ports),
        resources: Some(pod::resources(&RESOURCES, None)),
        security_context: Some(pod::security(true)),
        startup_probe: Some(pod::http_probe(health_path, "health", &Rhythm { period_s: 1, failures: 60 })),
        liveness_probe: Some(pod::http_probe(health_path, "health", &Rhythm { period_s: 10, failures: 6 })),
        readiness_probe: Some(pod::http_probe(health_path, "health", &Rhythm { period_s: 2, failures: 2 })),
        ..Container::default()
    }
}

fn second_config() -> String {
    format!(
        "\
extensions:
  healthcheckv2:
    use_v2: true
    http: {{ endpoint: 0.0.0.0:13133 }}
  jaeger_query:
    storage: {{ traces: memory }}
    http: {{ endpoint: 0.0.0.0:{JAEGER_QUERY_PORT} }}
  jaeger_storage:
    backends:
      memory:
        memory: {{ max_traces: {MAX_TRACES} }}
receivers:
  otlp:
    protocols:
      grpc: {{ endpoint: 0.0.0.0:{OTLP_GRPC_PORT} }}
      http: {{ endpoint: 0.0.0.0:{OTLP_HTTP_PORT} }}
processors:
  batch: {{}}
exporters:
  jaeger_storage_exporter: {{ trace_storage: memory }}
service:
  extensions: [jaeger_storage, jaeger_query, healthcheckv2]
  pipelines:
    traces: {{ receivers: [otlp], processors: [batch], exporters: [jaeger_storage_exporter] }}
  telemetry:
    resource: {{ service.name: jaeger }}
    logs: {{ level: info }}
"
    )
}
