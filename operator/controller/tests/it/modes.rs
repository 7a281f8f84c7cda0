//! The chart in each of the ways in which it can be installed.

use serde_json::{Value, json};

use crate::build::restricted;
use crate::chart::{chart, helm, of_kind, rendered, run};

const MONITORED: &str = "--set=monitoring.serviceMonitor.enabled=true,monitoring.podMonitor.enabled=true,\
                         monitoring.prometheusRule.enabled=true,monitoring.dashboards.enabled=true,\
                         monitoring.labels.release=prometheus";

/// Each mode by its values.
const MODES: [&[&str]; 7] = [
    &[],
    &["--set=watch.namespaces={a,b}"],
    &["--set=watch.namespaces={a}", "--set=crds.install=false"],
    &[MONITORED],
    &[
        "--set=registry=registry.example:5000/mirror",
        "--set=imagePullSecrets[0].name=mine,stacks.imagePullSecrets={theirs}",
    ],
    &["--set=replicas=1", "--set=test.enabled=false"],
    &["--set=telemetry.otlpEndpoint=http://jaeger.observability:4317", "--set=telemetry.ratio=0.5"],
];

fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[test]
fn helm_lints_and_renders_every_mode() {
    let Some(helm) = helm() else { return };
    for mode in MODES {
        let chart = chart();
        let mut arguments = vec!["lint", "--strict", chart.to_str().unwrap()];
        arguments.extend(mode);
        let output = run(&helm, &arguments);
        assert!(output.status.success(), "{mode:?}: {}", String::from_utf8_lossy(&output.stdout));
        let objects = rendered(&helm, mode);
        for object in &objects {
            assert!(
                object["apiVersion"].is_string() && object["metadata"]["name"].is_string(),
                "{mode:?}: {object}"
            );
            let labels = &object["metadata"]["labels"];
            if object["kind"] != "CustomResourceDefinition" {
                assert_eq!(labels["app.kubernetes.io/instance"], "weft", "{mode:?}: {object}");
            }
        }
        let mut ids: Vec<_> =
            objects.iter().map(|object| format!("{} {}", object["kind"], object["metadata"])).collect();
        let all = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), all, "{mode:?}: an object is there twice");
    }
}

#[test]
fn a_lone_operator_has_no_budget_and_several_leave_one_to_act() {
    let Some(helm) = helm() else { return };
    let several = rendered(&helm, &[]);
    let budget = named(&several, "PodDisruptionBudget", "weft-operator");
    assert_eq!(budget["spec"]["maxUnavailable"], 1);
    let labels = &named(&several, "Deployment", "weft-operator")["spec"]["template"]["metadata"]["labels"];
    for (key, value) in budget["spec"]["selector"]["matchLabels"].as_object().unwrap() {
        assert_eq!(&labels[key], value);
    }
    let lone = rendered(&helm, &["--set=replicas=1"]);
    assert!(of_kind(&lone, "PodDisruptionBudget").is_empty());
    assert!(
        named(&lone, "Deployment", "weft-operator")["spec"]["template"]["spec"]["topologySpreadConstraints"]
            .is_null()
    );
}

#[test]
fn every_image_comes_from_the_registry_that_is_named() {
    let Some(helm) = helm() else { return };
    let objects = rendered(&helm, &["--set=registry=registry.example:5000/mirror"]);
    let text = named(&objects, "ConfigMap", "weft-operator")["data"]["installation.yaml"].as_str().unwrap();
    let installed: Value = serde_yaml_ng::from_str(text).unwrap();
    let images = |value: &Value| -> Vec<String> {
        value.as_object().unwrap().values().map(|image| image.as_str().unwrap().to_owned()).collect()
    };
    let mut all = images(&installed["versions"]["0.1.0"]);
    all.extend(
        installed["stores"]
            .as_object()
            .unwrap()
            .values()
            .map(|store| store["image"].as_str().unwrap().to_owned()),
    );
    all.push(installed["tracing"]["jaeger"]["image"].as_str().unwrap().to_owned());
    for pod in [
        &named(&objects, "Deployment", "weft-operator")["spec"]["template"]["spec"],
        &named(&objects, "Pod", "weft-smoke")["spec"],
    ] {
        all.push(pod["containers"][0]["image"].as_str().unwrap().to_owned());
    }
    assert_eq!(all.len(), 6 + 4 + 1 + 2);
    for image in &all {
        assert!(image.starts_with("registry.example:5000/mirror/"), "{image}");
        assert!(!image.contains("docker.io"), "{image}");
    }
    assert!(all.contains(&"registry.example:5000/mirror/library/postgres:17".to_owned()));
    assert_eq!(installed["stores"]["mongodb"]["flavour"], "mongodb", "what is no image stays");
}

#[test]
fn pull_secrets_reach_the_operator_and_the_stacks() {
    let Some(helm) = helm() else { return };
    let arguments = ["--set=imagePullSecrets[0].name=mine", "--set=stacks.imagePullSecrets={theirs}"];
    let objects = rendered(&helm, &arguments);
    let pod = &named(&objects, "Deployment", "weft-operator")["spec"]["template"]["spec"];
    assert_eq!(pod["imagePullSecrets"], json!([{ "name": "mine" }]));
    assert_eq!(
        named(&objects, "Pod", "weft-smoke")["spec"]["imagePullSecrets"],
        json!([{ "name": "theirs" }])
    );
    let text = named(&objects, "ConfigMap", "weft-operator")["data"]["installation.yaml"].as_str().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let read = weft_operator::installation::Installation::read(file.path()).unwrap();
    assert_eq!(read.pull_secrets, ["theirs"]);
}

#[test]
fn helm_test_runs_restricted_in_the_stack_s_namespace_with_no_right() {
    let Some(helm) = helm() else { return };
    let arguments = ["--set=test.namespace=blue,test.stack=sky,test.trace=false"];
    let objects = rendered(&helm, &arguments);
    let pod = named(&objects, "Pod", "weft-smoke");
    assert_eq!(pod["metadata"]["namespace"], "blue");
    assert_eq!(pod["metadata"]["annotations"]["helm.sh/hook"], "test");
    let spec = &pod["spec"];
    assert_eq!(
        (&spec["automountServiceAccountToken"], &spec["serviceAccountName"]),
        (&json!(false), &Value::Null)
    );
    let mut probed = spec.clone();
    // It ends by itself: nothing is there to be probed.
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        probed["containers"][0][probe] = json!({});
    }
    restricted("smoke", &probed, true);
    let env = spec["containers"][0]["env"].as_array().unwrap();
    let of = |name: &str| env.iter().find(|env| env["name"] == name).unwrap();
    assert_eq!(of("SMOKE_BROKER_URL")["value"], "http://broker.blue:8080");
    assert_eq!(of("SMOKE_TRACE")["value"], "false");
    assert_eq!(
        of("SMOKE_PASSWORD")["valueFrom"]["secretKeyRef"],
        json!({ "name": "sky-admin", "key": "password" })
    );
    assert!(rendered(&helm, &["--set=test.enabled=false"]).iter().all(|object| object["kind"] != "Pod"));
}

#[test]
fn the_operator_s_own_traces_go_where_the_values_say() {
    let Some(helm) = helm() else { return };
    let env = |arguments: &[&str]| {
        let objects = rendered(&helm, arguments);
        named(&objects, "Deployment", "weft-operator")["spec"]["template"]["spec"]["containers"][0]["env"]
            .clone()
    };
    assert!(!env(&[]).to_string().contains("OTEL"));
    let set = env(&["--set=telemetry.otlpEndpoint=http://jaeger:4317"]).to_string();
    assert!(set.contains("http://jaeger:4317") && set.contains("OTEL_TRACES_SAMPLER_ARG"), "{set}");
}

#[test]
fn the_notes_say_what_comes_next() {
    let Some(helm) = helm() else { return };
    let chart = chart();
    let output =
        run(&helm, &["install", "weft", chart.to_str().unwrap(), "-n", "weft-system", "--dry-run=client"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for next in [
        "kubectl apply",
        "kubectl wait",
        "helm test weft",
        "helm uninstall weft",
        "pod-security.kubernetes.io",
    ] {
        assert!(said.contains(next), "the notes don't say {next}:\n{said}");
    }
}
