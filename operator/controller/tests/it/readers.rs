//! How others read a Stack's status. Every status that the operator writes in these tests goes through [`check`].

use serde_json::Value;

/// What kstatus (and so Flux, Helm 4 and `kubectl` plugins) makes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kstatus {
    Current,
    InProgress,
    Failed,
}

fn holds<'a>(object: &'a Value, type_: &str) -> Option<&'a str> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == type_)?["status"].as_str()
}

/// kstatus' rules for a kind that it does not know: the generation first, then Reconciling and Stalled in the order in which
/// they stand, then Ready.
pub(crate) fn kstatus(object: &Value) -> Kstatus {
    let observed = object["status"]["observedGeneration"].as_i64();
    if observed.is_some() && observed != object["metadata"]["generation"].as_i64() {
        return Kstatus::InProgress;
    }
    for condition in object["status"]["conditions"].as_array().into_iter().flatten() {
        match (condition["type"].as_str(), condition["status"].as_str()) {
            (Some("Reconciling"), Some("True")) => return Kstatus::InProgress,
            (Some("Stalled"), Some("True")) => return Kstatus::Failed,
            _ => {}
        }
    }
    match holds(object, "Ready") {
        Some("False" | "Unknown") => Kstatus::InProgress,
        // Nothing said counts as current: hence the default status in the definition.
        _ => Kstatus::Current,
    }
}

/// What a health check of Argo CD's makes of it, as it is written for Flux's kinds.
pub(crate) fn argo(object: &Value) -> &'static str {
    if object["status"]["observedGeneration"] != object["metadata"]["generation"] {
        return "Progressing";
    }
    match (holds(object, "Ready"), holds(object, "Stalled")) {
        (Some("True"), _) => "Healthy",
        (_, Some("True")) => "Degraded",
        _ => "Progressing",
    }
}

/// What holds of every status.
pub(crate) fn check(object: &Value) {
    let status = &object["status"];
    assert!(status["observedGeneration"].is_i64(), "a number at the top: {status}");
    assert!(
        status["observedGeneration"].as_i64() <= object["metadata"]["generation"].as_i64(),
        "of a generation that was never seen: {status}"
    );
    let triple = ["Ready", "Reconciling", "Stalled"].map(|type_| holds(object, type_));
    let [Some(ready), Some(reconciling), Some(stalled)] = triple else {
        panic!("one of the three is missing: {status}")
    };
    assert!(["True", "False", "Unknown"].contains(&ready), "{status}");
    assert!(!(reconciling == "True" && stalled == "True"), "working and stalled: {status}");
    assert!(ready != "True" || (reconciling, stalled) == ("False", "False"), "ready and not: {status}");
    if status["observedGeneration"] == object["metadata"]["generation"] {
        let (wanted, health) = match (ready, stalled) {
            ("True", _) => (Kstatus::Current, "Healthy"),
            (_, "True") => (Kstatus::Failed, "Degraded"),
            _ => (Kstatus::InProgress, "Progressing"),
        };
        assert_eq!((kstatus(object), argo(object)), (wanted, health), "{status}");
    } else {
        assert_eq!((kstatus(object), argo(object)), (Kstatus::InProgress, "Progressing"), "{status}");
    }
    status["conditions"].as_array().into_iter().flatten().for_each(well_formed);
    served(status, ready);
}

/// As metav1.Condition is validated.
fn well_formed(condition: &Value) {
    let text = |key: &str| condition[key].as_str().unwrap_or_default();
    let word = |text: &str| {
        text.chars().next().is_some_and(|first| first.is_ascii_alphabetic())
            && text.chars().all(|one| one.is_ascii_alphanumeric() || one == '_')
    };
    assert!(word(text("type")) && word(text("reason")), "{condition}");
    assert!(!text("message").is_empty() && text("message").len() <= 32_768, "{condition}");
    let time = text("lastTransitionTime");
    assert!(time.len() == 20 && time.ends_with('Z'), "{condition}");
}

/// Never ready with a service that is not as the spec says.
fn served(status: &Value, ready: &str) {
    for service in status["services"].as_array().into_iter().flatten().filter(|_| ready == "True") {
        assert_eq!(service["updated"], service["desired"], "{status}");
        assert_eq!(service["ready"], service["desired"], "{status}");
    }
}

#[test]
fn the_readers_tell_the_states_apart() {
    let object = |generation: i64, conditions: &[(&str, &str)]| {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(type_, status)| serde_json::json!({ "type": type_, "status": status }))
            .collect();
        serde_json::json!({
            "metadata": { "generation": generation },
            "status": { "observedGeneration": 1, "conditions": conditions },
        })
    };
    let ready = [("Ready", "True"), ("Reconciling", "False"), ("Stalled", "False")];
    assert_eq!(kstatus(&object(1, &ready)), Kstatus::Current);
    assert_eq!((kstatus(&object(2, &ready)), argo(&object(2, &ready))), (Kstatus::InProgress, "Progressing"));
    let new = serde_json::json!({ "metadata": { "generation": 1 }, "status": { "observedGeneration": -1 } });
    assert_eq!((kstatus(&new), argo(&new)), (Kstatus::InProgress, "Progressing"), "the definition's default");
    let stalled = object(1, &[("Ready", "False"), ("Reconciling", "False"), ("Stalled", "True")]);
    assert_eq!((kstatus(&stalled), argo(&stalled)), (Kstatus::Failed, "Degraded"));
    let working = object(1, &[("Ready", "False"), ("Reconciling", "True"), ("Stalled", "False")]);
    assert_eq!((kstatus(&working), argo(&working)), (Kstatus::InProgress, "Progressing"));
}
