//! The chart, as Helm renders it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize as _;
use serde_json::{Value, json};
use weft_operator::installation::Installation;

use crate::build::restricted;

pub(crate) fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../charts/weft")
}

/// Helm, or nothing when there is none and nothing demands it.
pub(crate) fn helm() -> Option<PathBuf> {
    tool("helm", "WEFT_HELM")
}

/// A program by its name, or where a variable says.
fn tool(name: &str, variable: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let built = || std::env::var_os("WEFT_TOOLS_BIN").map(|folder| PathBuf::from(folder).join(name));
    let found = named.or_else(|| built().filter(|path| path.exists())).or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.exists())
    });
    if found.is_none() {
        assert!(std::env::var_os("WEFT_REQUIRE_STORES").is_none(), "no {name}: set {variable} to its path");
        eprintln!("skipped: no {name} in {variable}, WEFT_TOOLS_BIN or PATH");
    }
    found
}

pub(crate) fn run(helm: &Path, arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(helm);
    command.args(arguments).env("HOME", home.path()).env_remove("KUBECONFIG");
    command.output().unwrap()
}

pub(crate) fn rendered(helm: &Path, arguments: &[&str]) -> Vec<Value> {
    rendered_as(helm, "weft", "weft-system", arguments)
}

fn rendered_as(helm: &Path, release: &str, namespace: &str, arguments: &[&str]) -> Vec<Value> {
    let chart = chart();
    let mut all = vec!["template", release, chart.to_str().unwrap(), "-n", namespace];
    all.extend(arguments);
    let output = run(helm, &all);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let documents =
        serde_yaml_ng::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap());
    documents.filter(|document| !document.is_null()).collect()
}

pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

#[test]
fn the_definition_of_stack_is_fresh() {
    let path = chart().join("files/stacks.yaml");
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    let wanted = weft_operator::crd::yaml().unwrap();
    assert!(there == wanted, "{} is stale: run `weft-operator crd` into it", path.display());
}

#[test]
fn helm_finds_nothing_to_complain_of() {
    for helm in [helm(), tool("helm3", "WEFT_HELM3")].into_iter().flatten() {
        let output = run(&helm, &["lint", "--strict", chart().to_str().unwrap()]);
        assert!(output.status.success(), "{}: {}", helm.display(), String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn helm_3_makes_the_same_of_the_chart_as_helm_4() {
    let Some((three, four)) = tool("helm3", "WEFT_HELM3").zip(helm()) else { return };
    let version = |helm| String::from_utf8(run(helm, &["version", "--short"]).stdout).unwrap();
    assert!(version(&three).starts_with("v3.") && version(&four).starts_with("v4."));
    let chosen = json!({ "namespaces": ["shop", "other"] }).to_string();
    let watch = ["--set-json", &format!("watch={chosen}")];
    let monitored =
        ["--set", "monitoring.serviceMonitor.enabled=true,monitoring.prometheusRule.enabled=true"];
    for values in [&[][..], &watch, &monitored] {
        assert_eq!(rendered(&three, values), rendered(&four, values), "{values:?}");
    }
    // What the schema refuses, both refuse.
    for helm in [&three, &four] {
        let refused =
            run(helm, &["template", "weft", chart().to_str().unwrap(), "--set", "replicas=none,unheard=of"]);
        let told = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && told.contains("unheard"), "{}: {told}", helm.display());
    }
}

#[test]
fn the_operator_s_pod_is_restricted() {
    let Some(helm) = helm() else { return };
    let objects = rendered(&helm, &[]);
    let pods = of_kind(&objects, "Deployment");
    assert_eq!(pods.len(), 1);
    let spec = &pods[0]["spec"];
    restricted("weft-operator", &spec["template"]["spec"], true);
    assert_eq!(spec["replicas"], 2);
    assert_eq!(
        spec["strategy"]["rollingUpdate"]["maxUnavailable"], 0,
        "an upgrade leaves nobody without a leader"
    );
    assert_eq!(spec["template"]["spec"]["containers"][0]["image"], "docker.io/weft/weft-operator:0.1.0");
}

#[test]
fn the_operator_can_read_what_the_chart_writes_for_it() {
    let Some(helm) = helm() else { return };
    let arguments = [
        "--set-json=versions={\"0.3.0\":{\"broker\":\"b:1\",\"logger\":\"l:1\",\"listener\":\"i:1\",\"authentication\":\"a:1\",\"mail\":\"m:1\",\"frontend\":\"f:1\"}}",
        "--set=stores.mongodb.flavour=ferretdb",
        "--set=tracing.jaeger.major=1",
        "--set=watch.namespaces={a,b}",
    ];
    let objects = rendered(&helm, &arguments);
    let text = of_kind(&objects, "ConfigMap")[0]["data"]["installation.yaml"].as_str().unwrap().to_owned();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let read = Installation::read(file.path()).unwrap();
    assert_eq!(read.release, "weft");
    assert_eq!(read.namespace.as_deref(), Some("weft-system"), "whence the operator calls");
    assert_eq!(read.versions["0.3.0"].listener, "i:1");
    assert_eq!(read.versions["0.3.0"].frontend, "f:1");
    assert_eq!(read.stores.postgres.image, "docker.io/library/postgres:17");
    assert!(read.versions.contains_key("0.1.0"), "Helm adds to maps");
    assert_eq!(read.tracing.jaeger.major, 1);
    assert_eq!(read.watch.namespaces, ["a", "b"]);
}

#[test]
fn chosen_namespaces_need_no_right_in_the_cluster() {
    let Some(helm) = helm() else { return };
    let everywhere = rendered(&helm, &[]);
    assert_eq!(of_kind(&everywhere, "ClusterRole").len(), 1);
    assert_eq!(of_kind(&everywhere, "Role").len(), 1, "that of the Lease, in the release's namespace");
    let chosen = rendered(&helm, &["--set=watch.namespaces={a,b}"]);
    assert_eq!(of_kind(&chosen, "ClusterRole").len() + of_kind(&chosen, "ClusterRoleBinding").len(), 0);
    for kind in ["Role", "RoleBinding"] {
        let found: Vec<_> =
            of_kind(&chosen, kind).iter().map(|role| role["metadata"]["namespace"].clone()).collect();
        assert_eq!(found, [json!("a"), json!("b"), json!("weft-system")], "{kind}");
    }
    // Who may install it needs no right in the cluster either.
    let namespaced = rendered(&helm, &["--set=watch.namespaces={a,b}", "--set=crds.install=false"]);
    let clustered: Vec<_> =
        namespaced.iter().filter(|object| object["metadata"]["namespace"].is_null()).collect();
    assert!(clustered.is_empty(), "{clustered:?}");
}

#[test]
fn no_rule_is_wider_than_it_says() {
    let Some(helm) = helm() else { return };
    let objects = rendered(&helm, &[]);
    let rules = of_kind(&objects, "ClusterRole")[0]["rules"].as_array().unwrap().clone();
    let text = |value: &Value| value.to_string();
    assert!(rules.iter().all(|rule| !text(rule).contains("\"*\"")), "no wildcard");
    for rule in rules
        .iter()
        .filter(|rule| text(&rule["resources"]).contains("secrets") && rule["resourceNames"].is_null())
    {
        assert_eq!(rule["verbs"], json!(["get", "create"]), "Secrets are listed and watched by name only");
    }
    let claims = rules.iter().find(|rule| rule["resources"] == json!(["persistentvolumeclaims"])).unwrap();
    assert_eq!(claims["verbs"], json!(["get", "patch"]));
    let names = ["mongodb", "postgres", "rabbitmq"].map(weft_operator::names::claim);
    assert_eq!(claims["resourceNames"], json!(names), "the volumes of stores, and no others");
    for resource in ["pods", "namespaces", "stacks"] {
        for rule in rules.iter().filter(|rule| rule["resources"] == json!([resource])) {
            for verb in ["create", "update", "patch", "delete"] {
                assert!(!text(&rule["verbs"]).contains(verb), "{verb} {resource}");
            }
        }
    }
}

#[test]
fn two_releases_share_no_cluster_scoped_name() {
    let Some(helm) = helm() else { return };
    let first = rendered(&helm, &["--set=crds.install=false"]);
    let second = rendered_as(&helm, "other", "elsewhere", &["--set=crds.install=false"]);
    let names = |objects: &[Value]| -> Vec<String> {
        let clustered = objects.iter().filter(|object| object["metadata"]["namespace"].is_null());
        clustered.map(|object| object["metadata"]["name"].to_string()).collect()
    };
    assert_eq!(names(&first).len(), 2);
    assert!(names(&second).iter().all(|name| !names(&first).contains(name)));
}

#[test]
fn the_definition_stays_at_uninstall_and_can_be_left_out() {
    let Some(helm) = helm() else { return };
    let with = rendered(&helm, &[]);
    let definition = of_kind(&with, "CustomResourceDefinition")[0];
    assert_eq!(definition["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    let without = rendered(&helm, &["--set=crds.install=false"]);
    assert!(of_kind(&without, "CustomResourceDefinition").is_empty());
}

#[test]
fn wrong_values_are_refused_by_name() {
    let Some(helm) = helm() else { return };
    for (value, named) in [
        ("imaage.tag=x", "imaage"),
        ("image.tagg=x", "tagg"),
        ("stores.mongodb.flavour=postgres", "flavour"),
        ("stores.rabbitmq.image=", "image"),
        ("stores.postgres.image=", "image"),
        ("stores.mailcatcher.port=1025", "port"),
        ("tracing.jaeger.major=3", "major"),
        ("watch.namespaces={UPPER}", "namespaces"),
        ("watch.namespaces=all", "namespaces"),
        ("crds.install=perhaps", "install"),
        ("versions.x.broker=b", "logger"),
        ("resources.limits.memory=lots", "memory"),
        ("replicas=0", "replicas"),
        ("registry=UPPER//x", "registry"),
        ("stacks.imagePullSecrets={Not_a_name}", "imagePullSecrets"),
        ("telemetry.ratio=2", "ratio"),
        ("telemetry.ratio=1.5", "ratio"),
        ("telemetry.otlpEndpoint=jaeger:4317", "otlpEndpoint"),
        ("monitoring.serviceMonitor=true", "serviceMonitor"),
        ("monitoring.interval=often", "interval"),
        ("test.namespace=", "namespace"),
        ("test.stak=shop", "stak"),
    ] {
        let chart = chart();
        let output = run(&helm, &["template", "weft", chart.to_str().unwrap(), "--set", value]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{value} was taken");
        assert!(said.contains(named), "{value}: {said}");
    }
}

/// The schema is JSON Schema in its own right, and the values that come with the chart meet it.
#[test]
fn the_chart_s_own_values_meet_its_schema() {
    let read = |name: &str| std::fs::read_to_string(chart().join(name)).unwrap();
    let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
    let values: Value = serde_yaml_ng::from_str(&read("values.yaml")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<_> = validator.iter_errors(&values).map(|error| error.to_string()).collect();
    assert_eq!(errors, [] as [String; 0]);
}

/// What `kubectl apply -f k8s/stack.yaml` sends is a Stack as we know it.
#[test]
fn the_sample_is_a_stack_of_the_chart_s_version() {
    let text = std::fs::read_to_string(chart().join("../../k8s/stack.yaml")).unwrap();
    let documents: Vec<Value> = serde_yaml_ng::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).unwrap())
        .collect();
    assert_eq!(documents[0]["kind"], "Namespace", "it comes first");
    assert_eq!(documents[0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted");
    let stack: weft_operator_api::Stack = serde_json::from_value(documents[1].clone()).unwrap();
    let services = serde_json::to_value(&stack).unwrap()["spec"]["services"].clone();
    for name in ["broker", "authentication", "logger"] {
        assert_eq!(services[name], json!({ "replicas": 2 }), "{name}");
    }
    let values: Value =
        serde_yaml_ng::from_str(&std::fs::read_to_string(chart().join("values.yaml")).unwrap()).unwrap();
    assert!(values["versions"][&stack.spec.version].is_object());
}
