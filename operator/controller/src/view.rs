//! What the operator keeps of the objects that it watches: as little as it needs, since it keeps one for each.

mod ours;

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Resource;
use kube::core::ObjectMeta;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use sha2::{Digest as _, Sha256};

use crate::names;

pub use ours::{Ours, OwnedView, Replicas};

/// A Deployment's metadata and how far its rollout is.
#[derive(Resource, Clone, Debug)]
#[resource(inherit = Deployment)]
pub struct DeploymentView {
    pub metadata: ObjectMeta,
    pub status: Rollout,
    pub ours: Ours,
    pub replicas: Replicas,
}

impl<'de> Deserialize<'de> for DeploymentView {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (metadata, ours, status, replicas) = ours::taken_apart(deserializer)?;
        Ok(Self { metadata, status: rollout(status)?, ours, replicas })
    }
}

/// A StatefulSet's metadata and how far its rollout is.
#[derive(Resource, Clone, Debug)]
#[resource(inherit = StatefulSet)]
pub struct StatefulSetView {
    pub metadata: ObjectMeta,
    pub status: Rollout,
    pub ours: Ours,
}

impl<'de> Deserialize<'de> for StatefulSetView {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (metadata, ours, status, _) = ours::taken_apart(deserializer)?;
        Ok(Self { metadata, status: rollout(status)?, ours })
    }
}

fn rollout<E: serde::de::Error>(status: serde_json::Value) -> Result<Rollout, E> {
    let status = Option::<Rollout>::deserialize(status).map_err(E::custom)?;
    Ok(status.unwrap_or_default())
}

/// The counts that both kinds have.
#[derive(Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Rollout {
    pub observed_generation: i64,
    pub replicas: i32,
    pub updated_replicas: i32,
    pub ready_replicas: i32,
    pub terminating_replicas: i32,
    pub conditions: Vec<RolloutCondition>,
}

impl Rollout {
    /// Without what nobody asks for.
    pub fn shortened(mut self) -> Self {
        self.conditions.retain(|condition| condition.status == "False");
        self.conditions.shrink_to_fit();
        self
    }
}

#[derive(Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(default)]
pub struct RolloutCondition {
    #[serde(rename = "type")]
    pub type_: String,
    pub status: String,
    pub reason: String,
    pub message: String,
}

/// A Job's metadata and how it stands.
#[derive(Resource, Clone, Debug)]
#[resource(inherit = Job)]
pub struct JobView {
    pub metadata: ObjectMeta,
    pub ours: Ours,
    pub state: JobState,
}

/// How a Job stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum JobState {
    #[default]
    Running,
    Complete,
    /// It is not tried any more, and why.
    Failed(String),
}

impl<'de> Deserialize<'de> for JobView {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (metadata, ours, status, _) = ours::taken_apart(deserializer)?;
        let conditions = rollout::<D::Error>(status)?.conditions;
        let holds = |type_: &str| {
            conditions.iter().find(|condition| condition.type_ == type_ && condition.status == "True")
        };
        let state = match (holds("Complete"), holds("Failed")) {
            (Some(_), _) => JobState::Complete,
            (None, Some(failed)) => JobState::Failed(format!("{}: {}", failed.reason, failed.message)),
            (None, None) => JobState::Running,
        };
        Ok(Self { metadata, ours, state })
    }
}

/// A Secret's metadata and a digest of what it holds; the values are dropped while it is read.
#[derive(Resource, Deserialize, Clone, Debug)]
#[resource(inherit = Secret)]
pub struct SecretView {
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub data: Content,
}

/// What is kept of a Secret's data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub digest: ContentDigest,
    /// It has keys that authentication can encrypt with.
    pub has_encryption_keys: bool,
}

/// Tells contents apart without keeping them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContentDigest(pub String);

impl ContentDigest {
    /// Of keys and values, in the order of the keys.
    pub fn of<'a, V: AsRef<[u8]> + 'a>(entries: impl IntoIterator<Item = (&'a String, &'a V)>) -> Self {
        let mut sha = Sha256::new();
        for (key, value) in entries {
            for part in [key.as_bytes(), value.as_ref()] {
                sha.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
                sha.update(part);
            }
        }
        Self(sha.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Values;
        impl<'de> Visitor<'de> for Values {
            type Value = Content;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a Secret's data")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Content::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut values = BTreeMap::<String, Vec<u8>>::new();
                while let Some((key, value)) = map.next_entry::<String, k8s_openapi::ByteString>()? {
                    values.insert(key, value.0);
                }
                let keys = values.get(names::ENCRYPTION_KEYS);
                let has_encryption_keys = keys.is_some_and(|keys| !keys.is_empty());
                Ok(Content { digest: ContentDigest::of(&values), has_encryption_keys })
            }
        }
        deserializer.deserialize_any(Values)
    }
}

/// A pod: whether it serves, where, and what keeps it from it.
#[derive(Resource, Deserialize, Clone, Debug)]
#[resource(inherit = Pod)]
pub struct PodView {
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub status: PodStatusView,
}

#[derive(Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatusView {
    #[serde(rename = "podIP")]
    pub pod_ip: Option<String>,
    pub phase: String,
    pub conditions: Vec<RolloutCondition>,
    pub container_statuses: Vec<ContainerView>,
}

#[derive(Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerView {
    pub state: ContainerStateView,
    pub last_state: ContainerStateView,
}

#[derive(Deserialize, Clone, Debug, Default)]
#[serde(default)]
pub struct ContainerStateView {
    pub waiting: Option<Halt>,
    pub terminated: Option<Halt>,
}

#[derive(Deserialize, Clone, Debug, Default)]
#[serde(rename_all = "camelCase", default)]
pub struct Halt {
    pub reason: String,
    pub message: String,
    pub exit_code: i32,
}

impl PodView {
    /// What it is a pod of.
    pub fn app(&self) -> Option<&str> {
        self.metadata.labels.as_ref()?.get("app.kubernetes.io/name").map(String::as_str)
    }

    /// True when it changes a store's users.
    pub fn is_of_job(&self) -> bool {
        self.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(names::ROTATES))
    }

    /// True when none of its processes runs, nor will.
    pub fn has_ended(&self) -> bool {
        ["Succeeded", "Failed"].contains(&self.status.phase.as_str())
    }

    /// What its process said as it last failed.
    pub fn last_words(&self) -> Option<&str> {
        let states = self.status.container_statuses.iter();
        let ended =
            states.flat_map(|container| [&container.state.terminated, &container.last_state.terminated]);
        let said = ended.flatten().filter(|ended| ended.exit_code != 0).map(|ended| ended.message.trim());
        said.into_iter().find(|message| !message.is_empty())
    }

    /// What keeps it from serving, when something does that time alone may not mend.
    pub fn trouble(&self) -> Option<String> {
        let unscheduled = self.status.conditions.iter().find(|condition| {
            condition.type_ == "PodScheduled" && condition.status == "False" && !condition.message.is_empty()
        });
        if let Some(RolloutCondition { reason, message, .. }) = unscheduled {
            return Some(format!("{reason}: {message}"));
        }
        self.status.container_statuses.iter().find_map(|container| {
            let Halt { reason, message, .. } = container.state.waiting.as_ref()?;
            match (reason.as_str(), container.last_state.terminated.as_ref()) {
                ("ContainerCreating", _) => None,
                // Kubelet's message has the delay, which grows, and the pod's name and uid.
                ("CrashLoopBackOff", Some(Halt { reason: last, exit_code, .. })) => {
                    Some(format!("{reason}: it ended with exit code {exit_code}, {last}; see its log"))
                }
                _ if message.is_empty() => Some(reason.clone()),
                _ => Some(format!("{reason}: {message}")),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn trouble(status: &Value) -> Option<String> {
        serde_json::from_value::<PodView>(json!({ "metadata": {}, "status": status })).unwrap().trouble()
    }

    #[test]
    fn a_pod_says_what_time_alone_may_not_mend() {
        let waiting = |reason: &str, message: &str| {
            let last = json!({ "terminated": { "exitCode": 3, "reason": "Error" } });
            let state = json!({ "waiting": { "reason": reason, "message": message } });
            trouble(
                &json!({ "containerStatuses": [{ "restartCount": 1, "state": state, "lastState": last }] }),
            )
        };
        assert_eq!(waiting("ContainerCreating", ""), None);
        let said =
            waiting("CrashLoopBackOff", "back-off 40s restarting failed container=a pod=b_c(d)").unwrap();
        assert_eq!(said, "CrashLoopBackOff: it ended with exit code 3, Error; see its log");
        assert_eq!(waiting("ErrImagePull", "no such image").unwrap(), "ErrImagePull: no such image");
        let unscheduled = json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes" });
        assert_eq!(trouble(&json!({ "conditions": [unscheduled] })).unwrap(), "Unschedulable: 0/1 nodes");
        assert_eq!(trouble(&json!({ "phase": "Running" })), None);
    }

    #[test]
    fn a_secret_is_told_apart_and_not_kept() {
        let read = |data: Value| {
            serde_json::from_value::<SecretView>(json!({ "metadata": {}, "data": data })).unwrap()
        };
        let secret = read(json!({ "password": "aHVudGVyMg==" }));
        assert!(!format!("{secret:?}").contains("hunter2") && !format!("{secret:?}").contains("aHVudGVyMg"));
        assert_eq!(secret.data, read(json!({ "password": "aHVudGVyMg==" })).data);
        assert_ne!(secret.data, read(json!({ "password": "aHVudGVyMw==" })).data);
        assert_ne!(read(json!({ "a": "Yg==", "c": "" })).data, read(json!({ "a": "", "c": "Yg==" })).data);
        assert_eq!(
            read(Value::Null).data,
            serde_json::from_value::<SecretView>(json!({ "metadata": {} })).unwrap().data
        );
    }
}
