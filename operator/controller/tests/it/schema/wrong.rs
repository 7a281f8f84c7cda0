//! Wrong values of every field, from its schema: of another type, out of bounds, too long, unknown, twice, missing.

use serde_json::{Value, json};

use super::{Part, fields, right, spec_with, written};

/// A spec that is wrong in one place.
pub(crate) struct Wrong {
    /// What is wrong with it.
    pub(crate) what: String,
    /// A part of the field's path that a refusal has to name.
    pub(crate) field: String,
    pub(crate) spec: Value,
}

pub(crate) fn wrongs() -> Vec<Wrong> {
    let mut found = Vec::new();
    for (path, schema) in fields() {
        for (what, value) in of(&path, &schema) {
            let field = path.iter().rev().find_map(|part| match part {
                Part::Name(name) => Some(name.clone()),
                Part::Item | Part::Entry => None,
            });
            let spec = spec_with(&path, value);
            found.push(Wrong { what: format!("{}: {what}", written(&path)), field: field.unwrap(), spec });
        }
    }
    found
}

fn of(path: &[Part], schema: &Value) -> Vec<(String, Value)> {
    let mut found = of_another_type(schema);
    let right = right::value(path, schema, 0);
    let bound = |name: &str| schema[name].as_f64();
    if let Some(least) = bound("minimum") {
        found.push(("too small".to_owned(), (least as i64 - 1).into()));
        found.push(("far too small".to_owned(), i64::MIN.into()));
    }
    if let Some(most) = bound("maximum") {
        found.push(("too large".to_owned(), (most as i64 + 1).into()));
        found.push(("far too large".to_owned(), i64::MAX.into()));
        found.push(("larger than any integer".to_owned(), json!(1e300)));
    }
    if let Some(most) = schema["maxLength"].as_u64() {
        let text = "a".repeat(usize::try_from(most).unwrap() + 1);
        found.push(("too long".to_owned(), text.into()));
        found.push(("far too long".to_owned(), "a".repeat(70_000).into()));
    }
    if schema["minLength"].as_u64().is_some_and(|least| least > 0) {
        found.push(("empty".to_owned(), "".into()));
    }
    if schema["pattern"].is_string() {
        found.push(("against the pattern".to_owned(), "\u{0} ~ü\n".into()));
    }
    if schema["enum"].is_array() {
        found.push(("not one of the choices".to_owned(), "none of these".into()));
    }
    if let Some(most) = schema["maxItems"].as_u64() {
        let item = right[0].clone();
        found.push(("too many".to_owned(), vec![item; usize::try_from(most).unwrap() + 1].into()));
    }
    if matches!(schema["x-kubernetes-list-type"].as_str(), Some("set" | "map")) {
        found.push(("the same twice".to_owned(), json!([right[0], right[0]])));
    }
    if schema["properties"].is_object() {
        let mut unknown = right.clone();
        unknown["unknownField"] = true.into();
        found.push(("an unknown field".to_owned(), unknown));
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let mut without = right.clone();
            without.as_object_mut().unwrap().remove(name);
            found.push((format!("without {name}"), without));
        }
    }
    found
}

fn of_another_type(schema: &Value) -> Vec<(String, Value)> {
    let takes: &[&str] = match schema["type"].as_str() {
        Some("integer") => &["integer"],
        Some("number") => &["integer", "number"],
        Some("string") => &["string"],
        Some("boolean") => &["boolean"],
        Some("array") => &["array"],
        Some("object") => &["object"],
        _ => &["integer", "string"],
    };
    let samples = [
        ("string", json!("true")),
        ("integer", json!(7)),
        ("number", json!(0.5)),
        ("boolean", json!(true)),
        ("array", json!([[]])),
        ("object", json!({ "a": { "b": 1 } })),
    ];
    let wrong = samples.into_iter().filter(|(type_, _)| !takes.contains(type_));
    wrong.map(|(type_, value)| (format!("of type {type_}"), value)).collect()
}
