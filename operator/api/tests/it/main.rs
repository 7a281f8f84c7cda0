//! The definition of Stack: what the API server holds a Stack to, and what `kubectl explain` shows.

#![expect(clippy::unwrap_used, reason = "a helper of tests fails its test")]

use kube::CustomResourceExt as _;
use serde_json::{Value, json};
use weft_operator_api::{RESERVED_ENV, RESERVED_NAMES, RESERVED_SEGMENTS, Stack};

fn schema() -> Value {
    let definition = serde_json::to_value(Stack::crd()).unwrap();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

/// Calls `visit` with the path and schema of every field below this one.
fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, schema);
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), field, visit);
    }
    if schema["items"].is_object() {
        walk(&format!("{path}[]"), &schema["items"], visit);
    }
}

#[test]
fn every_field_is_described() {
    walk("stack", &schema(), &mut |path, field| {
        let item = path.ends_with("[]");
        assert!(
            item || field["description"].as_str().is_some_and(|text| !text.is_empty()),
            "{path}: {field}"
        );
    });
}

#[test]
fn every_field_of_the_spec_has_bounds() {
    walk("spec", &schema()["properties"]["spec"], &mut |path, field| {
        let bounded = match field["type"].as_str() {
            Some("string") => field["maxLength"].is_number() || field["enum"].is_array(),
            Some("integer" | "number") => field["minimum"].is_number() && field["maximum"].is_number(),
            Some("array") => field["maxItems"].is_number(),
            None => field["x-kubernetes-int-or-string"] == true && field["maxLength"].is_number(),
            _ => true,
        };
        assert!(bounded, "{path} has no bounds: {field}");
    });
}

#[test]
fn what_no_type_can_say_is_a_rule_with_words() {
    let mut rules = Vec::new();
    walk("spec", &schema()["properties"]["spec"], &mut |path, field| {
        for rule in field["x-kubernetes-validations"].as_array().into_iter().flatten() {
            assert!(rule["message"].is_string(), "{path}: {rule}");
            rules.push(path.to_owned());
        }
    });
    for path in [
        "spec",
        "spec.admin",
        "spec.routes[]",
        "spec.services.broker",
        "spec.services.broker.autoscaling",
        "spec.services.broker.env[]",
        "spec.expose",
        "spec.services.broker.labels",
        "spec.services.broker.nodeSelector",
        "spec.services.broker.resources",
        "spec.services.broker.tolerations[]",
        "spec.services.frontend.env[]",
        "spec.stores.mongodb",
        "spec.stores.postgres",
        "spec.stores.rabbitmq.managed",
        "spec.stores.smtp",
        "spec.tracing",
        "spec.tracing.otlp",
        "spec.workloads[]",
        "spec.workloads[].autoscaling",
        "spec.workloads[].envFrom[]",
        "spec.workloads[].probes.liveness",
    ] {
        assert!(rules.iter().any(|found| found == path), "{path} has no rule: {rules:?}");
    }
    let text = schema().to_string();
    for name in RESERVED_ENV {
        assert!(text.contains(&format!("\\\"{name}\\\"")), "{name}");
    }
}

#[test]
fn what_the_operator_runs_itself_is_no_workload_s_name_and_no_route_s_path() {
    let spec = schema()["properties"]["spec"]["properties"].clone();
    let rules = |list: &str| spec[list]["items"]["x-kubernetes-validations"].to_string();
    for name in RESERVED_NAMES {
        assert!(rules("workloads").contains(&format!("\\\"{name}\\\"")), "{name}");
    }
    for segment in RESERVED_SEGMENTS {
        assert!(rules("routes").contains(&format!("\\\"{segment}\\\"")), "{segment}");
    }
    // By these keys the API server itself refuses a name or a prefix that is there twice.
    assert_eq!(spec["workloads"]["x-kubernetes-list-map-keys"], json!(["name"]));
    assert_eq!(spec["routes"]["x-kubernetes-list-map-keys"], json!(["prefix"]));
}

#[test]
fn maps_have_bounds_too() {
    let service = schema()["properties"]["spec"]["properties"]["services"]["properties"]["logger"].clone();
    for map in ["nodeSelector", "labels"] {
        let map = &service["properties"][map];
        assert!(
            map["maxProperties"].is_number() && map["additionalProperties"]["maxLength"].is_number(),
            "{map}"
        );
    }
}

#[test]
fn it_is_named_and_printed_as_the_documentation_says() {
    let definition = serde_json::to_value(Stack::crd()).unwrap();
    let names = &definition["spec"]["names"];
    assert_eq!(names["shortNames"], json!(["st"]));
    assert_eq!(names["categories"], json!(["weft"]));
    assert_eq!(definition["spec"]["scope"], "Namespaced");
    let version = &definition["spec"]["versions"][0];
    assert!(version["subresources"]["status"].is_object());
    let columns: Vec<_> =
        version["additionalPrinterColumns"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
    assert_eq!(columns, ["Ready", "Reason", "Version", "Services", "Age", "Message"]);
}

#[test]
fn a_quantity_may_be_a_number() {
    let spec =
        json!({ "version": "1", "services": { "broker": { "resources": { "limits": { "cpu": 2 } } } } });
    let object = json!({ "apiVersion": "weft.dev/v1alpha1", "kind": "Stack", "metadata": { "name": "a" }, "spec": spec });
    let stack: Stack = serde_json::from_value(object).unwrap();
    let limits = stack.spec.services.broker.resources.unwrap().limits.unwrap();
    assert_eq!(limits.cpu.unwrap().0, "2");
}

/// Within a version changes only add: what was said before there were people still says the same.
#[test]
fn a_stack_of_before_is_read_as_it_was() {
    let object = json!({
        "apiVersion": "weft.dev/v1alpha1", "kind": "Stack", "metadata": { "name": "a" },
        "spec": { "version": "1", "stores": { "mongodb": { "managed": {} } } },
    });
    let spec = serde_json::from_value::<Stack>(object).unwrap().spec;
    assert!(spec.services.authentication.is_enabled() && spec.origins.is_empty() && spec.limits.is_none());
}

#[test]
fn lists_are_sets_so_that_two_writers_do_not_undo_each_other() {
    let spec = schema()["properties"]["spec"]["properties"].clone();
    for list in ["origins", "trustedProxies", "openActions"] {
        assert_eq!(spec[list]["x-kubernetes-list-type"], "set", "{list}");
    }
    assert_eq!(spec["openActions"]["items"]["enum"], json!(["log", "event", "mail"]));
}

#[test]
fn a_port_that_is_not_named_follows_the_encryption() {
    let port = |encryption: &str| {
        let smtp: weft_operator_api::ExternalSmtp =
            serde_json::from_value(json!({ "host": "relay", "encryption": encryption })).unwrap();
        smtp.port()
    };
    assert_eq!(["tls", "ssl", "none"].map(port), [587, 465, 25]);
}

/// Both, or the data stays.
#[test]
fn data_is_deleted_only_where_policy_and_annotation_say_so() {
    let deletes = |policy: Value, annotation: Value| {
        let object = json!({
            "apiVersion": "weft.dev/v1alpha1", "kind": "Stack",
            "metadata": { "name": "a", "annotations": { weft_operator_api::ALLOW_DATA_DELETION: annotation } },
            "spec": { "version": "1", "deletionPolicy": policy },
        });
        serde_json::from_value::<Stack>(object).unwrap().deletes_data()
    };
    assert!(deletes(json!("Delete"), json!("true")));
    for (policy, annotation) in [
        (json!("Delete"), json!("false")),
        (json!("Delete"), json!("yes")),
        (json!("Retain"), json!("true")),
        (Value::Null, json!("true")),
    ] {
        assert!(!deletes(policy.clone(), annotation.clone()), "{policy} {annotation}");
    }
    let field = &schema()["properties"]["spec"]["properties"]["deletionPolicy"];
    assert!(field.to_string().contains("Retain") && field.to_string().contains("Delete"), "{field}");
}

#[test]
fn a_moment_is_a_text_of_a_fixed_form() {
    let schema = schema();
    let spec = &schema["properties"]["spec"]["properties"];
    for moment in [
        &spec["restartedAt"],
        &spec["services"]["properties"]["broker"]["properties"]["restartedAt"],
        &spec["stores"]["properties"]["postgres"]["properties"]["managed"]["properties"]["restartedAt"],
    ] {
        // The API server takes a list for a text with a format.
        assert_eq!((&moment["format"], &moment["type"]), (&Value::Null, &json!("string")), "{moment}");
        assert!(moment["pattern"].is_string() && moment["maxLength"] == 35);
    }
}

/// kstatus takes an object without any status for one that is done.
#[test]
fn a_stack_that_nobody_has_looked_at_is_of_no_generation_yet() {
    let status = &schema()["properties"]["status"];
    assert_eq!(status["default"], json!({ "observedGeneration": -1 }));
    assert!(status["required"].is_null(), "a default that lacks what is required would be refused: {status}");
}
