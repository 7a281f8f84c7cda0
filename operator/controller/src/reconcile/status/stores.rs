//! How a store stands, in the words of the service that owns it.

use std::cmp::Reverse;

use weft_operator_api::ConditionStatus;
use weft_runtime::status::StoreStatus;

use crate::context::AskStores;
use crate::names::ADMIN_PORT;
use crate::view::PodView;

/// The reason of a store that does not take its service's credentials.
pub const NOT_AUTHENTICATED: &str = "NotAuthenticated";

/// The reason of a store that its owner can use.
pub(super) const USABLE: &str = "Usable";

/// How a store stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreState {
    pub status: ConditionStatus,
    pub reason: &'static str,
    pub message: String,
}

impl StoreState {
    pub(super) fn new(
        status: impl Into<ConditionStatus>,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { status: status.into(), reason, message: message.into() }
    }

    /// From what its owner says.
    pub(super) fn told(owner: &str, told: &StoreStatus) -> Self {
        let StoreStatus { reachable, authenticated, migrated, version, message } = told;
        let why = message.as_deref().unwrap_or("no reason given");
        if !reachable {
            return Self::new(false, "Unreachable", format!("{owner} can't reach it: {why}"));
        }
        if !authenticated {
            return Self::new(
                false,
                NOT_AUTHENTICATED,
                format!("it does not take {owner}'s credentials: {why}"),
            );
        }
        if !migrated {
            return Self::new(false, "NotMigrated", format!("{owner} has not prepared it yet: {why}"));
        }
        let version = version.as_deref().map(|version| format!(", version {version}")).unwrap_or_default();
        Self::new(true, USABLE, format!("reachable, authenticated, migrated{version}"))
    }
}

/// Asks the owner's pods, the newest first, until one answers. While the owner is being rolled only the newest counts: the
/// others may be of a spec that named another store.
pub(super) async fn ask(
    owner: &str,
    store: &str,
    pods: &[&PodView],
    rolling: bool,
    ask: &AskStores,
) -> StoreState {
    let mut pods: Vec<_> = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect();
    pods.sort_by_key(|pod| Reverse(pod.metadata.creation_timestamp.as_ref().map(|time| time.0)));
    for pod in pods.into_iter().take(if rolling { 1 } else { usize::MAX }) {
        let Some(ip) = &pod.status.pod_ip else { continue };
        let Some(told) = ask(format!("{}:{ADMIN_PORT}", bracketed(ip))).await else { continue };
        return match told.get(store) {
            Some(status) => StoreState::told(owner, status),
            None => StoreState::new(ConditionStatus::Unknown, "NotTold", format!("{owner} does not say yet")),
        };
    }
    StoreState::new(ConditionStatus::Unknown, "NobodyAnswers", format!("no pod of {owner} answers yet"))
}

pub(super) fn bracketed(ip: &str) -> String {
    if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_thing_that_is_missing_is_the_reason() {
        let say = |reachable, authenticated, migrated| {
            let message = Some("because".to_owned());
            let told =
                StoreStatus { reachable, authenticated, migrated, version: Some("8.0".to_owned()), message };
            let state = StoreState::told("logger", &told);
            (state.status, state.reason)
        };
        assert_eq!(say(false, true, true), (ConditionStatus::False, "Unreachable"));
        assert_eq!(say(true, false, true), (ConditionStatus::False, "NotAuthenticated"));
        assert_eq!(say(true, true, false), (ConditionStatus::False, "NotMigrated"));
        assert_eq!(say(true, true, true), (ConditionStatus::True, "Usable"));
    }
}
