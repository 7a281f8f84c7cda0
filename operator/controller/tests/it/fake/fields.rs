//! Paths of fields, as the API server owns them: through maps by name, through keyed lists by key; other lists are one field.

use serde_json::{Map, Value};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Field(String),
    /// An item of a keyed list: its keys, as JSON.
    Item(String),
}

pub(crate) type Path = Vec<Step>;

/// Maps that are one field.
const WHOLE: [&str; 7] = [
    "selector",
    "nodeSelector",
    "fieldRef",
    "secretKeyRef",
    "configMapKeyRef",
    "resourceFieldRef",
    "podSelector",
];

/// True when a map of this name is replaced whole.
pub(crate) fn is_whole(name: &str) -> bool {
    WHOLE.contains(&name)
}

/// What items of this list are told apart by; nothing for a list that is replaced whole.
fn keys(list: &str, items: &[Value]) -> Option<&'static [&'static str]> {
    let keys: &[&str] = match list {
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" | "services" => &["name"],
        "volumeMounts" => &["mountPath"],
        "conditions" => &["type"],
        "ownerReferences" => &["uid"],
        "topologySpreadConstraints" => &["topologyKey", "whenUnsatisfiable"],
        "ports" if items.iter().all(|item| item["containerPort"].is_number()) => &["containerPort"],
        "ports" if items.iter().all(|item| item["name"].is_string()) => &["port"],
        _ => return None,
    };
    let has_keys = |item: &Value| keys.iter().all(|key| !item[*key].is_null());
    items.iter().all(has_keys).then_some(keys)
}

/// Which item of a list this is.
pub(crate) fn item(list: &str, items: &[Value], item: &Value) -> Option<Step> {
    let keys = keys(list, items)?;
    let found: Map<_, _> = keys.iter().map(|key| ((*key).to_owned(), item[*key].clone())).collect();
    Some(Step::Item(Value::Object(found).to_string()))
}

/// The path of every field below this value.
pub(crate) fn leaves(value: &Value) -> Vec<Path> {
    let mut found = Vec::new();
    walk("", value, &mut Vec::new(), &mut found);
    found
}

fn walk(name: &str, value: &Value, path: &mut Path, found: &mut Vec<Path>) {
    match value {
        Value::Object(fields) if !fields.is_empty() && !is_whole(name) => {
            for (key, field) in fields {
                path.push(Step::Field(key.clone()));
                walk(key, field, path, found);
                path.pop();
            }
        }
        Value::Array(items) if !items.is_empty() && keys(name, items).is_some() => {
            for one in items {
                path.extend(item(name, items, one));
                // That the item is there is a field of its own.
                found.push(path.clone());
                walk("", one, path, found);
                path.pop();
            }
        }
        _ => found.push(path.clone()),
    }
}

pub(crate) fn get<'a>(value: &'a Value, path: &[Step]) -> Option<&'a Value> {
    let Some((step, rest)) = path.split_first() else { return Some(value) };
    let inner = match step {
        Step::Field(name) => value.as_object()?.get(name)?,
        Step::Item(keys) => value.as_array()?.iter().find(|item| is_item(keys, item))?,
    };
    get(inner, rest)
}

pub(crate) fn get_mut<'a>(value: &'a mut Value, path: &[Step]) -> Option<&'a mut Value> {
    let Some((step, rest)) = path.split_first() else { return Some(value) };
    let inner = match step {
        Step::Field(name) => value.as_object_mut()?.get_mut(name)?,
        Step::Item(keys) => value.as_array_mut()?.iter_mut().find(|item| is_item(keys, item))?,
    };
    get_mut(inner, rest)
}

/// Takes a field away, and what is empty without it.
pub(crate) fn remove(value: &mut Value, path: &[Step]) {
    let Some((last, above)) = path.split_last() else { return };
    let Some(parent) = get_mut(value, above) else { return };
    match (last, &mut *parent) {
        (Step::Field(name), Value::Object(fields)) => {
            fields.remove(name);
        }
        (Step::Item(keys), Value::Array(items)) => items.retain(|item| !is_item(keys, item)),
        _ => {}
    }
    let empty = parent.as_object().is_some_and(Map::is_empty) || parent.as_array().is_some_and(Vec::is_empty);
    if empty {
        remove(value, above);
    }
}

fn is_item(keys: &str, item: &Value) -> bool {
    let Ok(Value::Object(keys)) = serde_json::from_str(keys) else { return false };
    keys.iter().all(|(key, value)| item[key] == *value)
}
