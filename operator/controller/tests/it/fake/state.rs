use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures::channel::mpsc::UnboundedSender;
use serde_json::{Value, json};

use super::merge;
use crate::readers;

/// Plural, namespace (empty for what has none), name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id(pub(crate) String, pub(crate) String, pub(crate) String);

impl Id {
    pub(crate) fn shop(plural: &str, name: &str) -> Self {
        Self(plural.to_owned(), "shop".to_owned(), name.to_owned())
    }
}

pub(crate) struct Watcher {
    pub(crate) selector: Selector,
    pub(crate) events: UnboundedSender<Value>,
}

/// What a list or watch asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    pub(crate) plural: String,
    pub(crate) namespace: Option<String>,
    pub(crate) labels: Vec<(String, Option<String>)>,
    pub(crate) name: Option<String>,
}

impl Selector {
    pub(crate) fn takes(&self, id: &Id, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.plural == id.0
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == id.1)
            && self.name.as_ref().is_none_or(|name| *name == id.2)
            && self.labels.iter().all(|(key, value)| match value {
                Some(value) => labels[key] == value.as_str(),
                None => !labels[key].is_null(),
            })
    }
}

/// A request, as the API server's authorizer sees it; the name is that of the object, where the request has one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Asked {
    pub(crate) verb: &'static str,
    pub(crate) group: String,
    pub(crate) resource: String,
    pub(crate) name: Option<String>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) objects: BTreeMap<Id, Value>,
    /// What the operator applied last, by object (and `/status`).
    applied: BTreeMap<(Id, bool), Value>,
    pub(crate) revision: u64,
    /// Everything that happened: revision, object, event.
    pub(crate) history: Vec<(u64, Id, Value)>,
    pub(crate) watchers: Vec<Watcher>,
    /// Requests that the operator made to change something, such as `apply deployments/broker`.
    pub(crate) writes: Vec<String>,
    /// Every kind of request that was made.
    pub(crate) requests: BTreeSet<Asked>,
    /// Answers 500 to writes that contain this.
    pub(crate) broken: Option<String>,
    /// Pods become ready as soon as they are asked for.
    pub(crate) pods_run: bool,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (Id(plural, namespace, name), object) in &self.objects {
            writeln!(f, "{namespace} {plural}/{name} {}", object["status"])?;
        }
        writeln!(f, "writes: {:?}", self.writes)
    }
}

const WITH_GENERATION: [&str; 3] = ["deployments", "statefulsets", "stacks"];

impl State {
    pub(crate) fn get(&self, plural: &str, name: &str) -> Option<&Value> {
        self.objects.get(&Id::shop(plural, name))
    }

    pub(crate) fn names(&self, plural: &str) -> Vec<&str> {
        self.objects.keys().filter(|id| id.0 == plural && id.1 == "shop").map(|id| id.2.as_str()).collect()
    }

    pub(crate) fn condition(&self, stack: &str, type_: &str) -> Option<(String, String, String)> {
        let conditions = self.get("stacks", stack)?["status"]["conditions"].as_array()?.clone();
        let found = conditions.into_iter().find(|condition| condition["type"] == type_)?;
        let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        Some((text("status"), text("reason"), text("message")))
    }

    /// The Events of a reason, as their notes.
    pub(crate) fn told(&self, reason: &str) -> Vec<&str> {
        let events = self.objects.iter().filter(|(id, event)| id.0 == "events" && event["reason"] == reason);
        events.map(|(_, event)| event["note"].as_str().unwrap_or_default()).collect()
    }

    pub(crate) fn is_ready(&self, stack: &str) -> bool {
        self.condition(stack, "Ready").is_some_and(|(status, ..)| status == "True")
    }

    /// Writes an object as some client would; gives it back as it then is.
    pub(crate) fn put(&mut self, id: &Id, mut object: Value) -> Value {
        let before = self.objects.get(id).cloned();
        let meta = &mut object["metadata"];
        meta["name"] = id.2.clone().into();
        if !id.1.is_empty() {
            meta["namespace"] = id.1.clone().into();
        }
        match &before {
            Some(before) => {
                for key in ["uid", "creationTimestamp", "generation", "resourceVersion"] {
                    if let Some(kept) = before["metadata"].get(key) {
                        meta[key] = kept.clone();
                    }
                }
                if object == *before {
                    return object;
                }
            }
            None => {
                meta["uid"] = format!("uid-{}", self.revision + 1).into();
                meta["creationTimestamp"] = format!("2026-01-01T00:00:{:02}Z", self.revision % 60).into();
            }
        }
        if WITH_GENERATION.contains(&id.0.as_str()) {
            let was =
                before.as_ref().map_or(0, |before| before["metadata"]["generation"].as_i64().unwrap_or(0));
            let same = before.as_ref().is_some_and(|before| before["spec"] == object["spec"]);
            object["metadata"]["generation"] = (if same { was } else { was + 1 }).into();
        }
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        self.objects.insert(id.clone(), object.clone());
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        self.tell(id, kind, before.as_ref(), &object);
        if self.pods_run && ["deployments", "statefulsets"].contains(&id.0.as_str()) {
            self.run_pods(id);
        }
        self.objects.get(id).cloned().unwrap_or(object)
    }

    pub(crate) fn edit(&mut self, plural: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let id = Id::shop(plural, name);
        let mut object = self.objects[&id].clone();
        edit(&mut object);
        self.put(&id, object);
    }

    /// Changes what the operator has applied, as if it had applied this.
    pub(crate) fn edit_applied(&mut self, plural: &str, name: &str, edit: impl Fn(&mut Value)) {
        edit(self.applied.get_mut(&(Id::shop(plural, name), false)).unwrap());
        self.edit(plural, name, edit);
    }

    pub(crate) fn apply(&mut self, id: &Id, wanted: &Value, status: bool) -> Value {
        let mut object = self.objects.get(id).cloned().unwrap_or_else(|| json!({}));
        let before = self.applied.insert((id.clone(), status), wanted.clone()).unwrap_or_default();
        if status {
            merge::apply(&mut object["status"], &wanted["status"], &before["status"]);
            readers::check(&object);
        } else {
            merge::apply(&mut object, wanted, &before);
        }
        self.put(id, object)
    }

    pub(crate) fn delete(&mut self, id: &Id) -> Option<Value> {
        let mut object = self.objects.remove(id)?;
        self.applied.retain(|(applied, _), _| applied != id);
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        self.tell(id, "DELETED", Some(&object.clone()), &object);
        let uid = object["metadata"]["uid"].clone();
        let owns = |child: &Value| {
            child["metadata"]["ownerReferences"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["uid"] == uid))
        };
        let orphans: Vec<_> =
            self.objects.iter().filter(|(_, child)| owns(child)).map(|(id, _)| id.clone()).collect();
        for orphan in orphans {
            self.delete(&orphan);
        }
        Some(object)
    }

    /// An object that a selector no longer takes is deleted as far as its watcher is concerned.
    fn tell(&mut self, id: &Id, kind: &str, before: Option<&Value>, object: &Value) {
        self.history.push((
            self.revision,
            id.clone(),
            json!({ "type": kind, "object": object, "before": before }),
        ));
        self.watchers.retain(|watcher| {
            event(&watcher.selector, id, kind, before, object)
                .is_none_or(|event| watcher.events.unbounded_send(event).is_ok())
        });
    }

    /// What the cluster's own controllers and kubelet would do.
    fn run_pods(&mut self, id: &Id) {
        let mut object = self.objects[id].clone();
        let replicas = object["spec"]["replicas"].clone();
        object["status"] = json!({
            "observedGeneration": object["metadata"]["generation"], "replicas": replicas,
            "updatedReplicas": replicas, "readyReplicas": replicas,
        });
        let labels = object["spec"]["template"]["metadata"]["labels"].clone();
        self.pods_run = false;
        self.put(id, object);
        let pod = Id("pods".to_owned(), id.1.clone(), format!("{}-0", id.2));
        if replicas == 0 {
            self.delete(&pod);
        } else {
            let owner = json!([{ "uid": self.objects[id]["metadata"]["uid"] }]);
            let status =
                json!({ "podIP": "10.0.0.1", "conditions": [{ "type": "Ready", "status": "True" }] });
            self.put(
                &pod,
                json!({ "metadata": { "labels": labels, "ownerReferences": owner }, "status": status }),
            );
        }
        self.pods_run = true;
    }
}

pub(crate) fn event(
    selector: &Selector,
    id: &Id,
    kind: &str,
    before: Option<&Value>,
    object: &Value,
) -> Option<Value> {
    let now = kind != "DELETED" && selector.takes(id, object);
    let was = before.is_some_and(|before| selector.takes(id, before));
    let kind = match (was, now) {
        (_, true) if was => "MODIFIED",
        (false, true) => "ADDED",
        (true, false) => "DELETED",
        _ => return None,
    };
    let object = if now { object } else { before? };
    Some(json!({ "type": kind, "object": object }))
}
