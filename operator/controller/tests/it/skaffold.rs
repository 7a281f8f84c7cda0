//! skaffold.yaml against the chart and the sample that it names. Its build script is run by k8s/local/skaffold-test.sh.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use serde_json::Value;

use crate::build::plan;
use crate::chart::{chart, helm, of_kind, rendered};
use crate::harness::full;

fn root() -> PathBuf {
    chart().join("../..")
}

fn skaffold() -> Value {
    serde_yaml_ng::from_str(&fs::read_to_string(root().join("skaffold.yaml")).unwrap()).unwrap()
}

fn texts<'a>(values: &'a Value, key: &str) -> BTreeSet<&'a str> {
    values.as_array().unwrap().iter().map(|value| value[key].as_str().unwrap()).collect()
}

#[test]
fn every_image_of_ours_is_built_by_one_script_that_is_there() {
    let skaffold = skaffold();
    let artifacts = &skaffold["build"]["artifacts"];
    let images = ["broker", "authentication", "logger", "mail", "listener", "frontend", "operator"]
        .map(|name| format!("weft-{name}"));
    assert_eq!(texts(artifacts, "image"), images.iter().map(String::as_str).collect());
    for artifact in artifacts.as_array().unwrap() {
        let script = root().join(artifact["custom"]["buildCommand"].as_str().unwrap());
        assert_ne!(fs::metadata(&script).unwrap().permissions().mode() & 0o111, 0, "{}", script.display());
        for path in artifact["custom"]["dependencies"]["paths"].as_array().unwrap() {
            let path = path.as_str().unwrap().trim_end_matches("/**");
            assert!(root().join(path).exists(), "{artifact} depends on {path}, which is not there");
        }
    }
}

/// As Helm gets them, the images that Skaffold built are those that the operator runs.
#[test]
fn the_images_arrive_at_the_operator() {
    let Some(helm) = helm() else { return };
    let skaffold = skaffold();
    let release = &skaffold["deploy"]["helm"]["releases"][0];
    assert!(root().join(release["chartPath"].as_str().unwrap()).join("Chart.yaml").exists());
    let mut arguments = Vec::new();
    for (key, template) in release["setValueTemplates"].as_object().unwrap() {
        let template = template.as_str().unwrap().trim_matches(['{', '}', '.']).to_owned();
        // `{{.IMAGE_FULLY_QUALIFIED_weft_broker}}` and the like.
        let value = match template.split_once("_weft_").unwrap() {
            ("IMAGE_FULLY_QUALIFIED", name) => {
                format!("registry.example/weft-{name}:abc@sha256:{}", "0".repeat(64))
            }
            ("IMAGE_REPO", name) => format!("registry.example/weft-{name}"),
            ("IMAGE_TAG", _) => "abc".to_owned(),
            other => panic!("{other:?}"),
        };
        arguments.push(format!("--set={key}={value}"));
    }
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let objects = rendered(&helm, &arguments);
    let text = of_kind(&objects, "ConfigMap")[0]["data"]["installation.yaml"].as_str().unwrap();
    let installed: Value = serde_yaml_ng::from_str(text).unwrap();
    let versions = installed["versions"].as_object().unwrap();
    assert_eq!(
        versions.keys().collect::<Vec<_>>(),
        [env!("CARGO_PKG_VERSION")],
        "that of the sample, and no other"
    );
    for (name, image) in versions[env!("CARGO_PKG_VERSION")].as_object().unwrap() {
        assert!(
            image.as_str().unwrap().starts_with(&format!("registry.example/weft-{name}:abc@sha256:")),
            "{image}"
        );
    }
    let pod = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], "registry.example/weft-operator:abc");
}

#[test]
fn after_the_deploy_it_waits_for_the_sample_and_opens_what_the_sample_names() {
    let skaffold = skaffold();
    let hooks = skaffold["deploy"]["helm"]["hooks"]["after"].as_array().unwrap();
    let commands: Vec<String> = hooks
        .iter()
        .map(|hook| {
            let words = hook["host"]["command"].as_array().unwrap();
            words.iter().map(|word| word.as_str().unwrap()).collect::<Vec<_>>().join(" ")
        })
        .collect();
    assert!(root().join(&commands[0]).exists(), "{commands:?}");
    assert!(commands[1].starts_with("kubectl -n shop wait --for=condition=Ready stack/shop"), "{commands:?}");
    let sample = fs::read_to_string(root().join("k8s/stack.yaml")).unwrap();
    let services: BTreeSet<String> =
        plan(full()).services.into_iter().filter_map(|service| service.metadata.name).collect();
    for forward in skaffold["portForward"].as_array().unwrap() {
        assert!(services.contains(forward["resourceName"].as_str().unwrap()), "{forward}");
        let local = format!("{}:{}", forward["localPort"], forward["port"]);
        assert!(sample.contains(&local), "the sample does not name {local}");
    }
}
