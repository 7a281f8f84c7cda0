//! What the API server refuses: types, bounds, patterns, choices, unknown fields, lists that are sets or maps, CEL rules.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

use super::{cel, spec};

static VALIDATOR: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::validator_for(&translated(spec())).unwrap());

/// Why a Stack's spec is refused, each reason with its field; `old` is what is there already.
pub(crate) fn check(stack: &Value, old: Option<&Value>) -> Vec<String> {
    let field = |path: &str| format!("spec{}", path.replace('/', "."));
    let mut reasons: Vec<String> = VALIDATOR
        .iter_errors(stack)
        .map(|error| format!("{}: {error}", field(&error.instance_path().to_string())))
        .collect();
    if reasons.is_empty() {
        let old = old.map(|old| defaulted(spec(), old));
        walk(spec(), &defaulted(spec(), stack), old.as_ref(), "spec", &mut reasons);
    }
    reasons
}

/// With the defaults of what is not said: the API server fills them in before it looks at rules.
fn defaulted(schema: &Value, value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields = fields.clone();
            for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                if let Some(default) = field.get("default").filter(|_| !fields.contains_key(name)) {
                    fields.insert(name.clone(), default.clone());
                }
            }
            for (name, field) in &mut fields {
                *field = defaulted(&schema["properties"][name], field);
            }
            fields.into()
        }
        Value::Array(items) => items.iter().map(|item| defaulted(&schema["items"], item)).collect(),
        other => other.clone(),
    }
}

/// True when this schema takes this value.
pub(super) fn fits(schema: &Value, value: &Value) -> bool {
    jsonschema::validator_for(&translated(schema)).unwrap().is_valid(value)
}

/// From Kubernetes' dialect to that of everybody else.
fn translated(schema: &Value) -> Value {
    let Value::Object(fields) = schema else { return schema.clone() };
    let mut out: serde_json::Map<_, _> = fields
        .iter()
        .filter(|(key, _)| !key.starts_with("x-") && *key != "default")
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    if schema["x-kubernetes-int-or-string"] == true {
        out.insert("type".to_owned(), json!(["integer", "string"]));
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = out.get_mut(key) {
            *inner = translated(inner);
        }
    }
    if let Some(Value::Object(properties)) = out.get_mut("properties") {
        properties.values_mut().for_each(|inner| *inner = translated(inner));
        out.entry("additionalProperties").or_insert(false.into());
    } else if schema["type"] == "object" {
        out.entry("additionalProperties").or_insert(false.into());
    }
    if schema["nullable"] == true {
        out.remove("nullable");
        return json!({ "anyOf": [{ "type": "null" }, out] });
    }
    Value::Object(out)
}

/// What no dialect but Kubernetes' own knows.
fn walk(schema: &Value, value: &Value, old: Option<&Value>, path: &str, reasons: &mut Vec<String>) {
    if value.is_null() {
        return;
    }
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let text = rule["rule"].as_str().unwrap();
        if text.contains("oldSelf") && old.is_none_or(Value::is_null) {
            continue;
        }
        let holds = cel::holds(text, value, old.unwrap_or(&Value::Null));
        if !holds.unwrap_or_else(|error| panic!("{path}: {text}: {error}")) {
            let at = rule["fieldPath"].as_str().unwrap_or_default();
            reasons.push(format!("{path}{at}: {}", rule["message"].as_str().unwrap()));
        }
    }
    repeated(schema, value, path, reasons);
    let old = |key: &str| old.and_then(|old| old.get(key));
    for (key, inner) in value.as_object().into_iter().flatten() {
        let known = &schema["properties"][key];
        let below = if known.is_object() { known } else { &schema["additionalProperties"] };
        walk(below, inner, old(key), &format!("{path}.{key}"), reasons);
    }
    for (index, inner) in value.as_array().into_iter().flatten().enumerate() {
        walk(&schema["items"], inner, None, &format!("{path}[{index}]"), reasons);
    }
}

fn repeated(schema: &Value, value: &Value, path: &str, reasons: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for item in value.as_array().into_iter().flatten() {
        let key = match schema["x-kubernetes-list-type"].as_str() {
            Some("set") => item.to_string(),
            Some("map") => {
                let keys = schema["x-kubernetes-list-map-keys"].as_array().unwrap();
                keys.iter().map(|key| item[key.as_str().unwrap()].to_string()).collect()
            }
            _ => continue,
        };
        if !seen.insert(key.clone()) {
            reasons.push(format!("{path}: Duplicate value: {key}"));
        }
    }
}
