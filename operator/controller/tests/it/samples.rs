//! The Stacks in `k8s/`: each is what the definition allows, and can be built. That an API server takes them is tested on the node.

use std::path::Path;

use serde::Deserialize as _;
use serde_json::Value;
use weft_operator::reconcile::build::build;
use weft_operator::reconcile::dereference::{Found, FoundAdmin, FoundSmtp, FoundStore};
use weft_operator::reconcile::validate::{Connection, validate};
use weft_operator::view::ContentDigest;
use weft_operator_api::Stack;

use crate::build::found;
use crate::harness::installation;

const SAMPLES: [&str; 3] = ["stack.yaml", "all-external.yaml", "with-workload.yaml"];

fn documents(sample: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../k8s").join(sample);
    let text = std::fs::read_to_string(path).unwrap();
    let documents =
        serde_yaml_ng::Deserializer::from_str(&text).map(|document| Value::deserialize(document).unwrap());
    documents.filter(|document| !document.is_null()).collect()
}

fn schema() -> Value {
    let definition: Value = serde_yaml_ng::from_str(&weft_operator::crd::yaml().unwrap()).unwrap();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
}

/// The API server would drop a field that it does not know, or refuse it.
fn known(path: &str, value: &Value, schema: &Value) {
    match value {
        Value::Object(fields) if schema["properties"].is_object() => {
            for (name, value) in fields {
                let field = &schema["properties"][name];
                assert!(!field.is_null(), "{path}.{name} is unknown");
                known(&format!("{path}.{name}"), value, field);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| known(path, item, &schema["items"])),
        _ => {}
    }
}

/// What the other objects of the sample give the Stack.
fn found_beside(documents: &[Value], stack: &Stack) -> Found {
    let digest = || ContentDigest("digest".to_owned());
    let mut around = found(true);
    for object in documents {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let kind = match object["kind"].as_str().unwrap() {
            "Secret" => "Secret",
            "ConfigMap" => "ConfigMap",
            _ => continue,
        };
        around.inputs.insert((kind, name), Some(digest()));
    }
    let stores = &stack.spec.stores;
    for (store, slot) in [
        (&stores.mongodb, &mut around.mongodb),
        (&stores.rabbitmq, &mut around.rabbitmq),
        (&stores.postgres, &mut around.postgres),
    ] {
        if let Some(external) = store.as_ref().and_then(|store| store.external.as_ref()) {
            let secret = external.secret_ref.name.clone();
            assert!(around.inputs.contains_key(&("Secret", secret.clone())), "{secret} is not in the sample");
            *slot =
                FoundStore::External(Ok(Connection::Key { secret, key: "uri".to_owned(), digest: digest() }));
        }
    }
    if stores.smtp.as_ref().is_some_and(|smtp| smtp.external.is_some()) {
        around.smtp = FoundSmtp::External(Ok(Some(digest())));
    }
    if let Some(named) = stack.spec.admin.as_ref().and_then(|admin| admin.secret_ref.as_ref()) {
        around.admin = FoundAdmin::Kept { secret: named.name.clone(), digest: digest() };
    }
    around
}

#[test]
fn each_sample_is_what_the_definition_allows_and_can_be_built() {
    let schema = schema();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for sample in SAMPLES {
        let documents = documents(sample);
        let stacks: Vec<_> = documents.iter().filter(|object| object["kind"] == "Stack").collect();
        assert_eq!(stacks.len(), 1, "{sample}");
        let errors: Vec<_> =
            validator.iter_errors(&stacks[0]["spec"]).map(|error| error.to_string()).collect();
        assert_eq!(errors, [""; 0], "{sample}");
        known("spec", &stacks[0]["spec"], &schema);
        let stack: Stack = serde_json::from_value(stacks[0].clone()).unwrap();
        let found = found_beside(&documents, &stack);
        let plan = build(
            &validate(&stack, found, &installation()).unwrap_or_else(|refusal| panic!("{sample}: {refusal}")),
        );
        assert!(plan.deployments.len() >= 6, "{sample}");
    }
}

#[test]
fn nothing_of_all_external_is_run_by_the_operator() {
    let documents = documents("all-external.yaml");
    let stack = documents.iter().find(|object| object["kind"] == "Stack").unwrap();
    let stack: Stack = serde_json::from_value(stack.clone()).unwrap();
    let plan = build(&validate(&stack, found_beside(&documents, &stack), &installation()).unwrap());
    assert!(plan.stateful_sets.is_empty());
    let secrets: Vec<_> =
        plan.data_secrets.iter().filter_map(|secret| secret.metadata.name.as_deref()).collect();
    assert_eq!(secrets, ["weft-authentication"], "it opens signing keys, wherever those are");
    assert_eq!(plan.deployments.len(), 6, "neither Jaeger nor a catcher");
    assert_eq!(plan.ingresses.len(), 1);
    // A placeholder that were a real password would be everybody's.
    for secret in documents.iter().filter(|object| object["kind"] == "Secret") {
        let text = secret["stringData"].to_string();
        assert!(text.contains("change-me"), "{secret}");
    }
}
