use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures::channel::mpsc::UnboundedSender;
use serde_json::{Value, json};

use super::fields::Path;
use super::merge::{Owners, Writer};
use super::refuse::{self, Refusal};
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

/// Everyone but the operator.
const SOMEONE: &str = "someone";

#[derive(Default)]
pub(crate) struct State {
    pub(crate) objects: BTreeMap<Id, Value>,
    owners: BTreeMap<Id, Owners>,
    pub(crate) revision: u64,
    /// Everything that happened: revision, object, event.
    pub(crate) history: Vec<(u64, Id, Value)>,
    /// What happened up to this revision is forgotten: a watch from before it is told 410 Gone.
    pub(crate) compacted: u64,
    pub(crate) watchers: Vec<Watcher>,
    /// Requests that the operator made to change something, such as `apply deployments/broker`.
    pub(crate) writes: Vec<String>,
    /// Every kind of request that was made.
    pub(crate) requests: BTreeSet<Asked>,
    /// The namespaces of those requests.
    pub(crate) written_in: Vec<String>,
    /// Answers 500 to writes that contain this.
    pub(crate) broken: Option<String>,
    /// Pods become ready as soon as they are asked for.
    pub(crate) pods_run: bool,
    /// Jobs whose names begin with one of these don't come to an end by themselves.
    pub(crate) jobs_hang: Vec<&'static str>,
    /// StatefulSets get their volumes, which stay.
    pub(crate) volumes: bool,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (Id(plural, namespace, name), object) in &self.objects {
            writeln!(f, "{namespace} {plural}/{name} {}", object["status"])?;
        }
        writeln!(f, "writes: {:?}", self.writes)
    }
}

const WITH_GENERATION: [&str; 7] =
    ["deployments", "statefulsets", "stacks", "jobs", "ingresses", "networkpolicies", "poddisruptionbudgets"];

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
    pub(crate) fn put(&mut self, id: &Id, object: Value) -> Value {
        let mut owners = self.owners.get(id).cloned().unwrap_or_default();
        owners.update(self.objects.get(id), &object, SOMEONE);
        self.keep(id, object, owners)
    }

    /// Writes an object as the operator creates one.
    pub(crate) fn create(&mut self, id: &Id, object: Value, manager: &str) -> Result<Value, Refusal> {
        refuse::object(id, None, &object)?;
        let mut owners = Owners::default();
        owners.update(None, &object, manager);
        Ok(self.keep(id, object, owners))
    }

    pub(crate) fn edit(&mut self, plural: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        self.edit_at(&Id::shop(plural, name), edit);
    }

    pub(crate) fn edit_at(&mut self, id: &Id, edit: impl FnOnce(&mut Value)) {
        let mut object = self.objects[id].clone();
        edit(&mut object);
        self.put(id, object);
    }

    pub(crate) fn apply(&mut self, id: &Id, wanted: &Value, by: Writer<'_>) -> Result<Value, Refusal> {
        let mut object = self.objects.get(id).cloned().unwrap_or_else(|| json!({}));
        let mut owners = self.owners.get(id).cloned().unwrap_or_default();
        if by.status {
            owners.apply(&mut object, &json!({ "status": wanted["status"] }), by)?;
            readers::check(&object);
        } else {
            owners.apply(&mut object, wanted, by)?;
            refuse::object(id, self.objects.get(id), &object)?;
        }
        Ok(self.keep(id, object, owners))
    }

    /// Changes what the operator has applied, as if it had applied this.
    pub(crate) fn edit_applied(&mut self, plural: &str, name: &str, edit: impl Fn(&mut Value)) {
        let id = Id::shop(plural, name);
        let mut object = self.objects[&id].clone();
        edit(&mut object);
        let mut owners = self.owners[&id].clone();
        owners.update(self.objects.get(&id), &object, "weft-operator");
        self.keep(&id, object, owners);
    }

    /// The fields that a manager owns.
    pub(crate) fn owned_by(&self, id: &Id, manager: &str) -> Vec<Path> {
        self.owners.get(id).map(|owners| owners.of(manager).cloned().collect()).unwrap_or_default()
    }

    fn keep(&mut self, id: &Id, mut object: Value, owners: Owners) -> Value {
        let before = self.objects.get(id).cloned();
        self.complete(id, before.as_ref(), &mut object);
        // Who owns a field is part of the object, as it is to the API server.
        object["metadata"]["managedFields"] = owners.shown();
        self.owners.insert(id.clone(), owners);
        if before.as_ref() == Some(&object) {
            return object;
        }
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        self.objects.insert(id.clone(), object.clone());
        let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
        self.tell(id, kind, before.as_ref(), &object);
        if self.is_orphan(&object) {
            self.delete(id);
            return object;
        }
        if self.pods_run && ["deployments", "statefulsets"].contains(&id.0.as_str()) {
            self.run_pods(id);
        }
        let hangs = self.jobs_hang.iter().any(|start| id.2.starts_with(start));
        if self.pods_run && id.0 == "jobs" && before.is_none() && !hangs {
            self.end_job(&id.2.clone(), &id.1, "Complete");
        }
        self.objects.get(id).cloned().unwrap_or(object)
    }

    /// What the API server fills in by itself.
    fn complete(&self, id: &Id, before: Option<&Value>, object: &mut Value) {
        if id.0 == "deployments" && object["spec"].is_object() && object["spec"]["replicas"].is_null() {
            object["spec"]["replicas"] = 1.into();
        }
        let meta = &mut object["metadata"];
        meta["name"] = id.2.clone().into();
        if !id.1.is_empty() {
            meta["namespace"] = id.1.clone().into();
        }
        match before {
            Some(before) => {
                for key in ["uid", "creationTimestamp", "generation", "resourceVersion", "managedFields"] {
                    if let Some(kept) = before["metadata"].get(key) {
                        meta[key] = kept.clone();
                    }
                }
            }
            None => {
                meta["uid"] = format!("uid-{}", self.revision + 1).into();
                meta["creationTimestamp"] = format!(
                    "2026-01-01T{:02}:{:02}:{:02}Z",
                    self.revision / 3_600 % 24,
                    self.revision / 60 % 60,
                    self.revision % 60
                )
                .into();
            }
        }
        if ["deployments", "statefulsets"].contains(&id.0.as_str()) && object["spec"]["replicas"].is_null() {
            object["spec"]["replicas"] = 1.into();
        }
        if WITH_GENERATION.contains(&id.0.as_str()) {
            let was = before.map_or(0, |before| before["metadata"]["generation"].as_i64().unwrap_or(0));
            let same = before.is_some_and(|before| before["spec"] == object["spec"]);
            object["metadata"]["generation"] = (if same { was } else { was + 1 }).into();
        }
    }

    /// True when all owners that it names are gone: the garbage collector takes it.
    fn is_orphan(&self, object: &Value) -> bool {
        let Some(owners) = object["metadata"]["ownerReferences"].as_array().filter(|all| !all.is_empty())
        else {
            return false;
        };
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let lives = |owner: &Value| {
            let text = |key: &str| owner[key].as_str().unwrap_or_default();
            let plural = format!("{}s", text("kind").to_lowercase());
            let found = self.objects.get(&Id(plural, namespace.to_owned(), text("name").to_owned()));
            found.is_some_and(|found| found["metadata"]["uid"] == owner["uid"])
        };
        !owners.iter().any(lives)
    }

    pub(crate) fn delete(&mut self, id: &Id) -> Option<Value> {
        let mut object = self.objects.remove(id)?;
        self.owners.remove(id);
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        self.tell(id, "DELETED", Some(&object.clone()), &object);
        let uid = object["metadata"]["uid"].clone();
        let owns = |child: &Value| {
            child["metadata"]["ownerReferences"]
                .as_array()
                .is_some_and(|all| all.iter().any(|one| one["uid"] == uid))
        };
        let orphans: Vec<_> = self
            .objects
            .iter()
            .filter(|(_, child)| owns(child) && self.is_orphan(child))
            .map(|(id, _)| id.clone())
            .collect();
        for orphan in orphans {
            self.delete(&orphan);
        }
        if ["deployments", "statefulsets"].contains(&id.0.as_str()) {
            self.delete(&Id("pods".to_owned(), id.1.clone(), format!("{}-0", id.2)));
        }
        Some(object)
    }

    /// Forgets what happened, as etcd's compaction does, and ends every watch.
    pub(crate) fn compact(&mut self) {
        self.history.clear();
        self.compacted = self.revision;
        self.watchers.clear();
    }

    /// Tells every watcher how far it is, without an event.
    pub(crate) fn bookmark(&mut self) {
        let meta = json!({ "resourceVersion": self.revision.to_string(), "creationTimestamp": null });
        let object = json!({ "apiVersion": "v1", "kind": "Bookmark", "metadata": meta });
        let event = json!({ "type": "BOOKMARK", "object": object });
        self.watchers.retain(|watcher| watcher.events.unbounded_send(event.clone()).is_ok());
    }

    /// The cluster as it was at a revision. Who owned which field is as it is now.
    pub(crate) fn replayed(&self, revision: u64) -> Self {
        let mut past = Self {
            revision,
            owners: self.owners.clone(),
            pods_run: self.pods_run,
            jobs_hang: self.jobs_hang.clone(),
            volumes: self.volumes,
            ..Self::default()
        };
        for (when, id, event) in self.history.iter().filter(|(when, ..)| *when <= revision) {
            if event["type"] == "DELETED" {
                past.objects.remove(id);
            } else {
                past.objects.insert(id.clone(), event["object"].clone());
            }
            past.history.push((*when, id.clone(), event.clone()));
        }
        past
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

    /// What the Job controller writes when a Job has come to its end: `Complete` or `Failed`.
    pub(crate) fn end_job(&mut self, name: &str, namespace: &str, how: &str) {
        let id = Id("jobs".to_owned(), namespace.to_owned(), name.to_owned());
        let condition = json!({ "type": how, "status": "True", "reason": "Because", "message": "of that" });
        self.edit_at(&id, |job| job["status"] = json!({ "conditions": [condition] }));
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
            let (kind, uid) = (&id.0[..id.0.len() - 1], &self.objects[id]["metadata"]["uid"]);
            let owner = json!([{ "kind": kind, "name": id.2, "uid": uid }]);
            let status =
                json!({ "podIP": "10.0.0.1", "conditions": [{ "type": "Ready", "status": "True" }] });
            self.put(
                &pod,
                json!({ "metadata": { "labels": labels, "ownerReferences": owner }, "status": status }),
            );
        }
        if self.volumes && id.0 == "statefulsets" {
            let claim = Id("persistentvolumeclaims".to_owned(), id.1.clone(), format!("data-{}-0", id.2));
            if !self.objects.contains_key(&claim) {
                self.put(&claim, json!({}));
            }
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
