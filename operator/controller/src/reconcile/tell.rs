//! Kubernetes Events of what changes: what was made, changed, rolled, healed and deleted, and how the Stack stands then.
//! Nothing is told of a pass that changed nothing. Events are told as well as can be: one that is lost holds nothing up.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::PostParams;
use kube::core::ObjectMeta;
use weft_operator_api::{Condition, ConditionStatus, StackStatus};
use weft_runtime::telemetry::chain;

use super::apply::Changes;
use super::status::{READY, ROTATED, ROTATION_FAILING, STALLED, shortened};
use crate::context::Context;
use crate::names::MANAGER;

/// Something that happened to a Stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    pub is_warning: bool,
    pub reason: String,
    pub action: &'static str,
    pub note: String,
}

impl Happened {
    fn normal(reason: &str, action: &'static str, note: String) -> Self {
        Self { is_warning: false, reason: reason.to_owned(), action, note }
    }
}

/// What is to be told of what an apply has done.
pub fn of_changes(changes: &Changes, rolled: &[String]) -> Vec<Happened> {
    let Changes { created, changed, healed, pruned, owned, released, rotated, retired } = changes;
    let told: [(&str, &'static str, &str, &[String]); 9] = [
        ("Created", "Create", "made", created),
        ("Changed", "Change", "changed", changed),
        (
            "Rolled",
            "Roll",
            "pods are replaced: the spec, an image, or a Secret or ConfigMap in use changed for",
            rolled,
        ),
        ("Healed", "Heal", "put back what someone else changed or deleted:", healed),
        ("Pruned", "Prune", "deleted what the Stack no longer asks for:", pruned),
        ("DataOwned", "Own", "will be deleted with the Stack:", owned),
        ("CredentialsRotated", "Rotate", "a new user and password for", rotated),
        ("FormerUserRetired", "Retire", "the former user no longer opens", retired),
        ("DataReleased", "Release", "will stay when the Stack goes:", released),
    ];
    let told = told.into_iter().filter(|(.., names)| !names.is_empty());
    told.map(|(reason, action, text, names)| {
        Happened::normal(reason, action, format!("{text} {}", names.join(", ")))
    })
    .collect()
}

/// What is to be told of a status that follows another.
pub fn of_status(before: &StackStatus, now: &StackStatus) -> Vec<Happened> {
    let mut told = Vec::new();
    let holding = |status: &StackStatus, type_: &str| -> Option<Condition> {
        status.condition(type_).filter(|condition| condition.status == ConditionStatus::True).cloned()
    };
    match (holding(before, STALLED), holding(now, STALLED)) {
        (was, Some(Condition { reason, message, .. }))
            if was.as_ref().map(|was| &was.reason) != Some(&reason) =>
        {
            told.push(Happened { is_warning: true, reason, action: "Stall", note: message });
        }
        (Some(was), None) => {
            told.push(Happened::normal(
                "Recovered",
                "Recover",
                format!("no longer stalled by {}", was.reason),
            ));
        }
        _ => {}
    }
    let failing = |status: &StackStatus| {
        let condition = status.condition(ROTATED)?;
        (condition.reason == ROTATION_FAILING).then(|| condition.message.clone())
    };
    if let (None, Some(note)) = (failing(before), failing(now)) {
        told.push(Happened { is_warning: true, reason: ROTATION_FAILING.to_owned(), action: "Rotate", note });
    }
    match (holding(before, READY), holding(now, READY)) {
        (was, Some(Condition { reason, message, .. }))
            if was.as_ref().map(|was| &was.reason) != Some(&reason) =>
        {
            told.push(Happened::normal(&reason, "Reconcile", message));
        }
        _ => {}
    }
    told
}

/// Tells it, as far as the API server takes it.
pub async fn tell(meta: &ObjectMeta, happened: Vec<Happened>, context: &Context) {
    let namespace = meta.namespace.clone().unwrap_or_default();
    let api = Api::<Event>::namespaced(context.client.clone(), &namespace);
    for happened in happened {
        context.metrics.wrote("create", "Event");
        let event = event(meta, happened, context);
        if let Err(error) = api.create(&PostParams::default(), &event).await {
            let stack = meta.name.as_deref().unwrap_or_default();
            tracing::debug!(stack, namespace, error = chain(&error), "an Event was not taken");
        }
    }
}

fn event(meta: &ObjectMeta, happened: Happened, context: &Context) -> Event {
    let Happened { is_warning, reason, action, note } = happened;
    let name = meta.name.clone().unwrap_or_default();
    let regarding = ObjectReference {
        api_version: Some("weft.dev/v1alpha1".to_owned()),
        kind: Some("Stack".to_owned()),
        name: meta.name.clone(),
        namespace: meta.namespace.clone(),
        uid: meta.uid.clone(),
        ..ObjectReference::default()
    };
    let metadata = ObjectMeta {
        // Both together may be 253 long, and a Stack's name alone too.
        name: Some(format!(
            "{}.{:016x}",
            name.chars().take(230).collect::<String>().trim_end_matches(['.', '-']),
            rand::random::<u64>()
        )),
        namespace: meta.namespace.clone(),
        ..ObjectMeta::default()
    };
    Event {
        metadata,
        action: Some(action.to_owned()),
        event_time: Some(MicroTime(context.clock.now())),
        note: Some(shortened(note, LONGEST_NOTE)),
        reason: Some(reason),
        regarding: Some(regarding),
        reporting_controller: Some("weft.dev/operator".to_owned()),
        reporting_instance: Some(MANAGER.to_owned()),
        type_: Some(if is_warning { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    }
}

/// The API server takes 1,024 bytes, and this is followed by an ellipsis.
const LONGEST_NOTE: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn status(ready: bool, stalled: Option<&str>) -> StackStatus {
        let condition = |type_: &str, holds: bool, reason: &str| Condition {
            type_: type_.to_owned(),
            status: holds.into(),
            reason: reason.to_owned(),
            message: "because".to_owned(),
            last_transition_time: String::new(),
            observed_generation: None,
        };
        let conditions = vec![
            condition(READY, ready, "Ready"),
            condition(STALLED, stalled.is_some(), stalled.unwrap_or("Ready")),
        ];
        StackStatus { conditions, ..StackStatus::default() }
    }

    #[test]
    fn a_status_that_says_the_same_is_not_told() {
        let reasons = |before: &StackStatus, now: &StackStatus| {
            of_status(before, now).into_iter().map(|one| one.reason).collect::<Vec<_>>()
        };
        let (none, ready) = (StackStatus::default(), status(true, None));
        let (wrong, worse) = (status(false, Some("InvalidSpec")), status(false, Some("UnknownVersion")));
        assert_eq!(reasons(&none, &ready), ["Ready"]);
        assert_eq!(reasons(&ready, &ready), [""; 0]);
        assert_eq!(reasons(&ready, &wrong), ["InvalidSpec"]);
        assert_eq!(reasons(&wrong, &worse), ["UnknownVersion"]);
        assert_eq!(reasons(&worse, &worse), [""; 0]);
        assert_eq!(reasons(&worse, &ready), ["Recovered", "Ready"]);
    }

    #[test]
    fn a_note_fits_what_the_api_server_takes() {
        assert!(shortened("ü".repeat(2_000), LONGEST_NOTE).len() <= 1_024);
    }

    #[test]
    fn an_apply_that_did_nothing_is_not_told() {
        assert!(of_changes(&Changes::default(), &[]).is_empty());
        let changes = Changes { healed: vec!["Service broker".to_owned()], ..Changes::default() };
        let told = of_changes(&changes, &["logger".to_owned()]);
        assert_eq!(told.iter().map(|one| one.reason.as_str()).collect::<Vec<_>>(), ["Rolled", "Healed"]);
        assert!(told[1].note.ends_with("Service broker"));
    }
}
