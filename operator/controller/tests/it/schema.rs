//! The definition of Stack: every field, with right and wrong values of each.

mod agree;
mod any;
mod right;
mod wrong;

use std::sync::LazyLock;

use kube::CustomResourceExt as _;
use serde_json::{Value, json};
use weft_operator_api::Stack;

pub(crate) use any::{any_name, any_spec};
pub(crate) use right::{Pair, pairs};
pub(crate) use wrong::{Wrong, wrongs};

/// Of `spec`.
pub(crate) fn spec() -> &'static Value {
    static SPEC: LazyLock<Value> = LazyLock::new(|| {
        let definition = serde_json::to_value(Stack::crd()).unwrap();
        definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
    });
    &SPEC
}

/// A field on the way from `spec`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    Name(String),
    /// Any item of a list.
    Item,
    /// Any entry of a map.
    Entry,
}

/// As a person writes it: `services.broker.env[].name`.
pub(crate) fn written(path: &[Part]) -> String {
    let mut text = String::new();
    for part in path {
        match part {
            Part::Name(name) if text.is_empty() => text.push_str(name),
            Part::Name(name) => text.push_str(&format!(".{name}")),
            Part::Item => text.push_str("[]"),
            Part::Entry => text.push_str(".*"),
        }
    }
    text
}

/// Every field below `spec`, with its schema.
pub(crate) fn fields() -> Vec<(Vec<Part>, Value)> {
    let mut found = Vec::new();
    walk(spec(), &mut Vec::new(), &mut found);
    found.retain(|(path, _)| !path.is_empty());
    found
}

fn walk(schema: &Value, path: &mut Vec<Part>, found: &mut Vec<(Vec<Part>, Value)>) {
    found.push((path.clone(), schema.clone()));
    let below = schema["properties"].as_object().into_iter().flatten();
    let below = below.map(|(name, field)| (Part::Name(name.clone()), field));
    let inner = [(Part::Item, &schema["items"]), (Part::Entry, &schema["additionalProperties"])];
    for (part, field) in below.chain(inner.into_iter().filter(|(_, field)| field.is_object())) {
        path.push(part);
        walk(field, path, found);
        path.pop();
    }
}

/// A spec with this value at this path, and else what has to be there for it.
pub(crate) fn spec_with(path: &[Part], value: Value) -> Value {
    let mut whole = json!({ "version": "0.1.0" });
    right::fill(spec(), &mut whole, &[], path, value);
    right::accompany(&mut whole, path);
    whole
}
