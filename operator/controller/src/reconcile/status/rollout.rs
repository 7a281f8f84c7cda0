//! How far a Deployment or StatefulSet is.

use kube::core::ObjectMeta;

use crate::view::Rollout;

/// How far a Deployment or StatefulSet is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub updated: i32,
    pub ready: i32,
    /// All pods are of the present spec and ready, and no other is left.
    pub complete: bool,
    /// Its controller has given up waiting.
    pub stuck: bool,
    /// What is missing.
    pub message: Option<String>,
}

/// How far it is, if `applied` is the generation that our apply left: what was seen of an earlier one counts as
/// nothing updated.
pub fn progress(seen: Option<(&ObjectMeta, &Rollout)>, applied: Option<i64>, desired: i32) -> Progress {
    let Some(applied) = applied else {
        return missing("could not be applied");
    };
    let Some((meta, rollout)) = seen else {
        return missing("not seen yet");
    };
    let Rollout {
        observed_generation,
        replicas,
        updated_replicas,
        ready_replicas,
        terminating_replicas,
        conditions,
    } = rollout;
    let current =
        meta.generation.unwrap_or_default() >= applied && Some(*observed_generation) >= meta.generation;
    if !current {
        let message = Some("its change is not seen by the cluster yet".to_owned());
        return Progress { ready: *ready_replicas, message, ..Progress::default() };
    }
    let old = (replicas - updated_replicas).max(0) + terminating_replicas;
    let message = if *ready_replicas != desired || *updated_replicas != desired {
        Some(format!("{ready_replicas} of {desired} pods ready, {updated_replicas} up to date"))
    } else if old > 0 {
        Some(format!("pods of its former spec still ending: {old}"))
    } else {
        None
    };
    let stuck = conditions.iter().any(|condition| {
        condition.type_ == "Progressing"
            && condition.status == "False"
            && condition.reason == "ProgressDeadlineExceeded"
    });
    Progress {
        updated: *updated_replicas,
        ready: *ready_replicas,
        complete: message.is_none(),
        stuck: stuck && message.is_some(),
        message,
    }
}

fn missing(what: &str) -> Progress {
    Progress { message: Some(what.to_owned()), ..Progress::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(generation: i64) -> ObjectMeta {
        ObjectMeta { generation: Some(generation), ..ObjectMeta::default() }
    }

    fn done() -> Rollout {
        Rollout {
            observed_generation: 2,
            replicas: 2,
            updated_replicas: 2,
            ready_replicas: 2,
            ..Rollout::default()
        }
    }

    fn is_complete(rollout: &Rollout) -> bool {
        progress(Some((&seen(2), rollout)), Some(2), 2).complete
    }

    #[test]
    fn it_is_complete_only_when_all_pods_are_of_the_present_spec() {
        assert!(is_complete(&done()));
        assert!(!is_complete(&Rollout { replicas: 3, ..done() }), "a pod of the former spec is left");
        assert!(!is_complete(&Rollout { terminating_replicas: 1, ..done() }), "one is still ending");
        assert!(!is_complete(&Rollout { updated_replicas: 1, ..done() }));
        assert!(!is_complete(&Rollout { ready_replicas: 1, ..done() }));
        assert!(
            !is_complete(&Rollout { observed_generation: 1, ..done() }),
            "its controller has not looked yet"
        );
    }

    #[test]
    fn what_was_seen_before_our_apply_does_not_count() {
        assert!(!progress(Some((&seen(2), &done())), Some(3), 2).complete);
        assert!(!progress(Some((&seen(2), &done())), None, 2).complete);
        assert!(!progress(None, Some(1), 2).complete);
    }

    #[test]
    fn none_of_none_is_complete() {
        let rollout = Rollout { observed_generation: 2, ..Rollout::default() };
        assert!(progress(Some((&seen(2), &rollout)), Some(2), 0).complete);
    }
}
