//! What the API server refuses of the objects that the operator sends. `real::differential` compares it with a real one.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fields;
use super::pods;
use super::state::Id;
use super::syntax::{is_data_key, is_host, is_label, is_label_key, is_service_name, is_subdomain};

/// Status code, reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub(crate) u16, pub(crate) &'static str, pub(crate) String);

pub(super) type Checked = Result<(), Refusal>;

const REQUEST_BYTES: usize = 3 * 1_024 * 1_024;
const ETCD_BYTES: usize = 1_536 * 1_024;
const DATA_BYTES: usize = 1_024 * 1_024;
const ANNOTATION_BYTES: usize = 256 * 1_024;

pub(super) fn invalid(what: &str) -> Refusal {
    Refusal(422, "Invalid", what.to_owned())
}

/// Holds, or is refused as invalid.
pub(super) fn holds(is_right: bool, what: &str) -> Checked {
    if is_right { Ok(()) } else { Err(invalid(what)) }
}

/// Of a request, before anything is looked up.
pub(super) fn request(bytes: usize) -> Checked {
    if bytes <= REQUEST_BYTES {
        return Ok(());
    }
    Err(Refusal(413, "RequestEntityTooLarge", "the request is too large".to_owned()))
}

/// Of what an apply sends, before it is merged: who sends it, keys that are there twice, amounts that are none.
pub(super) fn applied(id: &Id, manager: &str, sent: &Value) -> Checked {
    holds(!manager.is_empty(), "fieldManager is required")?;
    if sent["metadata"]["name"].as_str().is_some_and(|name| name != id.2) {
        return Err(Refusal(400, "BadRequest", "the name is not that of the URL".to_owned()));
    }
    unreadable(sent)
}

/// The API server calls these an error of its own.
fn unreadable(value: &Value) -> Checked {
    let failed = |what: String| Err(Refusal(500, "", what));
    for (name, field) in value.as_object().into_iter().flatten() {
        if ["requests", "limits"].contains(&name.as_str()) {
            let amounts = field.as_object().into_iter().flat_map(|amounts| amounts.values());
            let is_amount = |amount: &Value| pods::amount(amount).is_some();
            if !amounts.into_iter().all(is_amount) {
                return failed(format!("{field}: not an amount"));
            }
        }
        let items = field.as_array().map_or(&[][..], Vec::as_slice);
        let mut seen = BTreeSet::new();
        if !items.iter().filter_map(|item| fields::item(name, items, item)).all(|key| seen.insert(key)) {
            return failed(format!("{name}: duplicate entries for a key"));
        }
        unreadable(field)?;
    }
    value.as_array().into_iter().flatten().try_for_each(unreadable)
}

/// Of an object as it would be.
pub(super) fn object(id: &Id, before: Option<&Value>, after: &Value) -> Checked {
    metadata(id, after)?;
    let (spec, old) = (&after["spec"], before.map(|before| &before["spec"]));
    let is_changed = |field: &str| old.is_some_and(|old| old[field] != spec[field]);
    match id.0.as_str() {
        "configmaps" | "secrets" => data(before, after)?,
        "controllerrevisions" => {
            holds(before.is_none_or(|before| before["data"] == after["data"]), "data is immutable")?;
        }
        "jobs" => holds(!is_changed("template"), "template is immutable")?,
        "deployments" => holds(!is_changed("selector"), "selector is immutable")?,
        "statefulsets" => stateful_set(old, spec)?,
        "services" => ports(&spec["ports"])?,
        "networkpolicies" => {
            let rules = [&spec["ingress"], &spec["egress"]].into_iter().filter_map(Value::as_array).flatten();
            rules.into_iter().try_for_each(|rule| ports(&rule["ports"]))?;
        }
        "ingresses" => ingress(spec)?,
        _ => {}
    }
    if spec["template"].is_object() {
        let (selector, labels) = (&spec["selector"]["matchLabels"], &spec["template"]["metadata"]["labels"]);
        let selected = selector.as_object().into_iter().flatten().all(|(key, value)| labels[key] == *value);
        holds(selected, "selector does not match the template's labels")?;
        holds(spec["replicas"].as_i64().is_none_or(|replicas| replicas >= 0), "replicas")?;
        pods::template(&spec["template"])?;
    }
    if after.to_string().len() > ETCD_BYTES {
        return Err(Refusal(500, "", "etcdserver: request is too large".to_owned()));
    }
    Ok(())
}

fn metadata(id: &Id, object: &Value) -> Checked {
    let is_name = if id.0 == "services" { is_service_name } else { is_subdomain };
    holds(is_name(&id.2), "metadata.name")?;
    let meta = &object["metadata"];
    labels(&meta["labels"])?;
    let annotations = meta["annotations"].as_object().into_iter().flatten();
    let mut bytes = 0;
    for (key, value) in annotations {
        holds(is_label_key(&key.to_lowercase()), "metadata.annotations")?;
        bytes += key.len() + value.as_str().map_or(0, str::len);
    }
    holds(bytes <= ANNOTATION_BYTES, "metadata.annotations: too long")?;
    let owners = meta["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice);
    holds(owners.iter().all(|owner| owner["uid"] != ""), "metadata.ownerReferences.uid")?;
    let controllers = owners.iter().filter(|owner| owner["controller"] == true).count();
    holds(controllers <= 1, "metadata.ownerReferences: more than one controller")
}

pub(super) fn labels(labels: &Value) -> Checked {
    labels.as_object().into_iter().flatten().try_for_each(|(key, value)| {
        holds(is_label_key(key) && value.as_str().is_some_and(is_label), &format!("label {key}: {value}"))
    })
}

fn data(before: Option<&Value>, after: &Value) -> Checked {
    let mut bytes = 0;
    for (key, value) in after["data"].as_object().into_iter().flatten() {
        holds(is_data_key(key), "data: a key")?;
        let length = value.as_str().map_or(0, str::len);
        bytes += if after["kind"] == "Secret" { length / 4 * 3 } else { length };
    }
    holds(bytes <= DATA_BYTES, "data: too long")?;
    let is_changed =
        before.is_some_and(|before| !before["type"].is_null() && before["type"] != after["type"]);
    holds(!is_changed, "type is immutable")
}

/// Everything else of a StatefulSet is immutable.
pub(crate) const CHANGEABLE: [&str; 7] = [
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
];

fn stateful_set(old: Option<&Value>, spec: &Value) -> Checked {
    let kept = |spec: &Value| {
        let mut kept = spec.clone();
        if let Some(fields) = kept.as_object_mut() {
            fields.retain(|name, _| !CHANGEABLE.contains(&name.as_str()));
        }
        kept
    };
    holds(old.is_none_or(|old| kept(old) == kept(spec)), "spec: immutable fields")?;
    let claims = spec["volumeClaimTemplates"].as_array().into_iter().flatten();
    claims.into_iter().try_for_each(|claim| {
        let amount = pods::amount(&claim["spec"]["resources"]["requests"]["storage"]);
        holds(amount.is_some_and(|amount| amount > 0.0), "storage must be greater than zero")
    })
}

pub(super) fn ports(ports: &Value) -> Checked {
    let is_port = |port: &Value| port.as_i64().is_none_or(|port| (1..=65_535).contains(&port));
    holds(ports.as_array().into_iter().flatten().all(|one| is_port(&one["port"])), "ports")
}

fn ingress(spec: &Value) -> Checked {
    let rules = spec["rules"].as_array().into_iter().flatten();
    for rule in rules {
        holds(rule["host"].as_str().is_none_or(is_host), "host")?;
        for path in rule["http"]["paths"].as_array().into_iter().flatten() {
            let path = path["path"].as_str().unwrap_or_default();
            let has_dots = path.split('/').any(|segment| segment == "." || segment == "..");
            holds(path.starts_with('/') && !path.contains("//") && !has_dots, "path")?;
        }
    }
    for secret in spec["tls"].as_array().into_iter().flatten() {
        holds(secret["secretName"].as_str().is_none_or(is_subdomain), "secretName")?;
    }
    holds(spec["ingressClassName"].as_str().is_none_or(is_subdomain), "ingressClassName")
}
