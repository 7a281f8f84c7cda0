//! What of an object is ours, told apart without keeping it: the fields that the API server says our manager owns, as they are now.
//! When that is what we want, there is nothing to apply, and an operator that has just started need not try.

use std::fmt::{self, Debug};
use std::marker::PhantomData;

use kube::Resource;
use kube::core::ObjectMeta;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::names::MANAGER;

/// A digest of fields and their values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ours(Option<[u8; 16]>);

impl Ours {
    /// Of an object that someone sent us; nothing of one that we never applied.
    pub fn of_seen(object: &Value) -> Self {
        Self(applied(object).and_then(|fields| picked(object, fields)).map(digest))
    }

    /// Of an object that we want.
    pub fn of_wanted(mut object: Value) -> Self {
        if let Some(fields) = object.as_object_mut() {
            fields.retain(|name, _| !["apiVersion", "kind", "status"].contains(&name.as_str()));
        }
        if let Some(meta) = object["metadata"].as_object_mut() {
            meta.retain(|name, _| !["name", "namespace"].contains(&name.as_str()));
        }
        Self(Some(digest(object)))
    }

    /// True when what was seen is what is wanted.
    pub fn is(&self, wanted: &Self) -> bool {
        self.0.is_some() && self == wanted
    }
}

/// The fields that our last apply of an object named.
fn applied(object: &Value) -> Option<&Value> {
    let mut entries = object["metadata"]["managedFields"].as_array()?.iter();
    let entry = entries.find(|entry| {
        entry["manager"] == MANAGER && entry["operation"] == "Apply" && entry["subresource"].is_null()
    })?;
    Some(&entry["fieldsV1"])
}

/// What of a value these fields name.
fn picked(value: &Value, fields: &Value) -> Option<Value> {
    let fields = fields.as_object()?;
    let within = |prefix: &'static str| {
        fields.iter().filter_map(move |(key, below)| Some((key.strip_prefix(prefix)?, below)))
    };
    if let Value::Array(items) = value
        && within("k:").next().is_some()
    {
        let keyed: Vec<_> = within("k:")
            .filter_map(|(keys, below)| Some((serde_json::from_str(keys).ok()?, below)))
            .collect();
        let ours = |item: &Value| {
            let (_, below) = keyed.iter().find(|(keys, _)| has(item, keys))?;
            Some(picked(item, below))
        };
        return items.iter().filter_map(ours).collect();
    }
    if within("f:").next().is_none() {
        return Some(value.clone());
    }
    let mut found = Map::new();
    for (name, below) in within("f:") {
        found.insert(name.to_owned(), picked(value.get(name)?, below)?);
    }
    Some(found.into())
}

fn has(item: &Value, keys: &Map<String, Value>) -> bool {
    keys.iter().all(|(key, value)| item.get(key) == Some(value))
}

fn digest(mut value: Value) -> [u8; 16] {
    plain(&mut value);
    // Maps are sorted by their keys, so that one value is one text. A value can always be written.
    let whole: [u8; 32] = Sha256::digest(serde_json::to_vec(&value).unwrap_or_default()).into();
    std::array::from_fn(|index| whole[index])
}

/// Claims in a StatefulSet are owned whole, and the API server fills them in.
fn plain(value: &mut Value) {
    let claims = value.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut);
    for claim in claims.into_iter().flatten() {
        if let Some(claim) = claim.as_object_mut() {
            claim.retain(|name, _| !["apiVersion", "kind", "status"].contains(&name.as_str()));
        }
        for (part, filled_in) in [("spec", "volumeMode"), ("metadata", "creationTimestamp")] {
            if let Some(part) = claim.get_mut(part).and_then(Value::as_object_mut) {
                part.remove(filled_in);
            }
        }
    }
}

/// An object's metadata and what of it is ours.
#[derive(Clone)]
pub struct OwnedView<K> {
    pub metadata: ObjectMeta,
    pub ours: Ours,
    pub(crate) kind: PhantomData<fn() -> K>,
}

impl<K> Debug for OwnedView<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedView").field("metadata", &self.metadata).finish_non_exhaustive()
    }
}

impl<'de, K> Deserialize<'de> for OwnedView<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (metadata, ours, ..) = taken_apart(deserializer)?;
        Ok(Self { metadata, ours, kind: PhantomData })
    }
}

/// How many pods there shall be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replicas {
    /// Whoever says so.
    pub wanted: Option<i32>,
    /// We say so: it would go with our word.
    pub are_ours: bool,
}

/// Metadata, what is ours, the status, and how many pods there shall be.
pub(super) fn taken_apart<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<(ObjectMeta, Ours, Value, Replicas), D::Error> {
    let mut object = Value::deserialize(deserializer)?;
    let ours = Ours::of_seen(&object);
    let are_ours = applied(&object).is_some_and(|fields| !fields["f:spec"]["f:replicas"].is_null());
    if let Some(meta) = object["metadata"].as_object_mut() {
        meta.remove("managedFields");
    }
    let metadata = serde_json::from_value(object["metadata"].take()).map_err(D::Error::custom)?;
    let wanted = object["spec"]["replicas"].as_i64().and_then(|replicas| replicas.try_into().ok());
    Ok((metadata, ours, object["status"].take(), Replicas { wanted, are_ours }))
}

impl<K: Resource> Resource for OwnedView<K> {
    type DynamicType = K::DynamicType;
    type Scope = K::Scope;

    fn kind(of: &K::DynamicType) -> std::borrow::Cow<'_, str> {
        K::kind(of)
    }

    fn group(of: &K::DynamicType) -> std::borrow::Cow<'_, str> {
        K::group(of)
    }

    fn version(of: &K::DynamicType) -> std::borrow::Cow<'_, str> {
        K::version(of)
    }

    fn plural(of: &K::DynamicType) -> std::borrow::Cow<'_, str> {
        K::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(value: &str, more: Value) -> Value {
        let containers = "k:{\"name\":\"broker\"}";
        json!({
            "metadata": {
                "name": "broker", "labels": { "app": "broker", "team": "theirs" },
                "managedFields": [{
                    "manager": MANAGER, "operation": "Apply",
                    "fieldsV1": {
                        "f:metadata": { "f:labels": { "f:app": {} } },
                        "f:spec": { "f:selector": {}, "f:containers": { containers: { ".": {}, "f:image": {}, "f:name": {} } } },
                    },
                }],
            },
            "spec": {
                "selector": { "app": value }, "replicas": 3,
                "containers": [more, { "name": "broker", "image": "a", "tty": false }],
            },
        })
    }

    #[test]
    fn the_order_of_keys_does_not_count() {
        let [one, other] =
            [r#"{"a": {"c": 1, "b": [2, 1]}, "d": null}"#, r#"{"d": null, "a": {"b": [2, 1], "c": 1}}"#]
                .map(|text| digest(serde_json::from_str(text).unwrap()));
        assert_eq!(one, other);
        assert_ne!(one, digest(json!({ "a": { "b": [1, 2], "c": 1 }, "d": null })));
    }

    #[test]
    fn only_what_is_ours_counts_and_all_of_it() {
        let wanted = Ours::of_wanted(json!({
            "apiVersion": "v1", "kind": "Thing",
            "metadata": { "name": "broker", "namespace": "shop", "labels": { "app": "broker" } },
            "spec": { "containers": [{ "image": "a", "name": "broker" }], "selector": { "app": "x" } },
        }));
        assert!(Ours::of_seen(&seen("x", json!({ "name": "injected" }))).is(&wanted));
        assert!(!Ours::of_seen(&seen("y", json!({ "name": "injected" }))).is(&wanted));
        let mut taken = seen("x", json!({}));
        taken["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]
            .as_object_mut()
            .unwrap()
            .remove("f:selector");
        assert!(!Ours::of_seen(&taken).is(&wanted), "someone else owns one of ours");
        let mut more = seen("x", json!({}));
        more["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:replicas"] = json!({});
        assert!(!Ours::of_seen(&more).is(&wanted), "we own what we no longer want");
        let mut emptied = seen("x", json!({}));
        emptied["spec"]["containers"][1].as_object_mut().unwrap().remove("image");
        let nothing = Ours::of_wanted(json!({
            "metadata": { "labels": { "app": "broker" } }, "spec": { "containers": [], "selector": { "app": "x" } },
        }));
        assert!(
            !Ours::of_seen(&emptied).is(&nothing),
            "an item of ours is there, although a field of it is not"
        );
        assert!(!Ours::of_seen(&json!({ "metadata": {} })).is(&Ours::of_seen(&json!({}))), "never applied");
    }
}
