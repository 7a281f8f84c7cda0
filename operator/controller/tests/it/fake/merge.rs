//! Server-side apply: who owns which field, what an apply changes, and whom it is in conflict with.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::fields::{self, Path, Step};
use super::refuse::{Checked, Refusal};

/// The fields of one object, by the manager that owns them and the subresource through which it wrote.
#[derive(Clone, Debug, Default)]
pub(crate) struct Owners(BTreeMap<(String, bool), BTreeSet<Path>>);

/// Who writes, and whether to the status.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) manager: &'a str,
    pub(crate) status: bool,
    pub(crate) force: bool,
}

impl Owners {
    /// What this manager owns.
    pub(crate) fn of(&self, manager: &str) -> impl Iterator<Item = &Path> {
        self.0.iter().filter(move |((owner, _), _)| owner == manager).flat_map(|(_, paths)| paths)
    }

    /// Puts `wanted` over `live`; what the manager applied before and no longer does goes, unless someone else owns it too.
    pub(crate) fn apply(&mut self, live: &mut Value, wanted: &Value, by: Writer<'_>) -> Checked {
        let id = (by.manager.to_owned(), by.status);
        let now: BTreeSet<Path> = fields::leaves(wanted).into_iter().filter(|path| is_owned(path)).collect();
        let differs = |path: &Path| fields::get(live, path) != fields::get(wanted, path);
        for ((other, _), owned) in self.0.iter().filter(|(other, _)| **other != id) {
            let clash = owned.iter().find(|path| now.contains(*path) && differs(path));
            if let Some(path) = clash.filter(|_| !by.force) {
                let why = format!("conflict with {other} over {path:?}");
                return Err(Refusal(409, "Conflict", why));
            }
        }
        let changed: Vec<Path> = now.iter().filter(|path| differs(path)).cloned().collect();
        let before = self.0.insert(id.clone(), now.clone()).unwrap_or_default();
        for (_, owned) in self.0.iter_mut().filter(|(other, _)| **other != id) {
            owned.retain(|path| !changed.contains(path));
        }
        for path in before.difference(&now) {
            if !self.0.values().any(|owned| owned.contains(path)) && !covers(&now, path) {
                fields::remove(live, path);
            }
        }
        merge("", live, wanted);
        self.0.retain(|_, owned| !owned.is_empty());
        Ok(())
    }

    /// Notes what someone changed by an update.
    pub(crate) fn update(&mut self, before: Option<&Value>, after: &Value, manager: &str) {
        let nothing = Value::Null;
        let before = before.unwrap_or(&nothing);
        let there: BTreeSet<Path> = fields::leaves(after).into_iter().filter(|path| is_owned(path)).collect();
        let differs = |path: &&Path| fields::get(before, path) != fields::get(after, path);
        let changed: BTreeSet<Path> = there.iter().filter(differs).cloned().collect();
        for owned in self.0.values_mut() {
            owned.retain(|path| there.contains(path) && !changed.contains(path));
        }
        if !changed.is_empty() {
            self.0.entry((manager.to_owned(), false)).or_default().extend(changed);
        }
        self.0.retain(|_, owned| !owned.is_empty());
    }

    /// As `metadata.managedFields` shows it.
    pub(crate) fn shown(&self) -> Value {
        let entry = |((manager, status), owned): (&(String, bool), &BTreeSet<Path>)| {
            let mut tree = Value::Object(Map::new());
            for path in owned {
                let mut at = &mut tree;
                for step in path {
                    at = &mut at[match step {
                        Step::Field(name) => format!("f:{name}"),
                        Step::Item(keys) => format!("k:{keys}"),
                    }];
                }
                let item = matches!(path.last(), Some(Step::Item(_)));
                if at.is_null() {
                    *at = if item { json!({ ".": {} }) } else { json!({}) };
                }
            }
            let mut entry = json!({
                "manager": manager, "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": tree,
            });
            if *status {
                entry["subresource"] = "status".into();
            }
            entry
        };
        self.0.iter().map(entry).collect()
    }
}

/// Nobody owns what makes an object this object.
fn is_owned(path: &[Step]) -> bool {
    let field = |index: usize| match path.get(index) {
        Some(Step::Field(name)) => name.as_str(),
        _ => "",
    };
    match field(0) {
        "apiVersion" | "kind" | "status" if path.len() == 1 => false,
        "metadata" => matches!(field(1), "labels" | "annotations" | "ownerReferences" | "finalizers"),
        _ => true,
    }
}

/// True when something below this path is applied now: a value became a map, say.
fn covers(now: &BTreeSet<Path>, path: &Path) -> bool {
    now.iter().any(|other| other.starts_with(path))
}

fn merge(name: &str, live: &mut Value, wanted: &Value) {
    match (&mut *live, wanted) {
        (Value::Object(there), Value::Object(fields)) if !fields::is_whole(name) => {
            for (key, field) in fields {
                match there.get_mut(key) {
                    Some(inner) => merge(key, inner, field),
                    None => {
                        there.insert(key.clone(), field.clone());
                    }
                }
            }
        }
        (Value::Array(there), Value::Array(items)) if keyed(name, items) && keyed(name, there) => {
            let mut left = std::mem::take(there);
            for item in items {
                let step = fields::item(name, items, item);
                match left.iter().position(|one| fields::item(name, &left, one) == step) {
                    Some(index) => {
                        let mut one = left.remove(index);
                        merge("", &mut one, item);
                        there.push(one);
                    }
                    None => there.push(item.clone()),
                }
            }
            there.append(&mut left);
        }
        _ => *live = wanted.clone(),
    }
}

fn keyed(name: &str, items: &[Value]) -> bool {
    items.first().is_some_and(|first| fields::item(name, items, first).is_some())
}
