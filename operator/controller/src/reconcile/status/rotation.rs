//! What is said of new credentials: how far they are, and what stands in their way.

use super::{Claim, ROTATED, ROTATION_FAILING, claim};
use crate::names::ROTATES;
use crate::reconcile::apply::Underway;
use crate::reconcile::validate::{StorePlan, Validated};
use crate::view::{JobState, PodView};

/// How new credentials stand, if any were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RotationState {
    #[default]
    NotAskedFor,
    /// Every managed store has what was last asked for.
    Done,
    /// It was asked for in vain.
    NoPasswords,
    Underway {
        messages: Vec<String>,
        is_failing: bool,
    },
    /// The Stack is stopped, or paused.
    Waiting {
        reason: &'static str,
        messages: Vec<String>,
    },
}

impl RotationState {
    pub(super) fn of(stack: &Validated, underway: &[Underway], pods: &[PodView]) -> Self {
        fn asked<I>(store: &Option<StorePlan<I>>) -> bool {
            matches!(store, Some(StorePlan::Managed { rotated_at: Some(_), .. }))
        }
        if underway.is_empty() {
            return match [asked(&stack.postgres), asked(&stack.rabbitmq), asked(&stack.mongodb)] {
                [_, _, true] if stack.is_passwordless() => Self::NoPasswords,
                [false, false, false] => Self::NotAskedFor,
                _ => Self::Done,
            };
        }
        let troubles = underway.iter().map(|one| trouble(stack, one, pods));
        let told: Vec<_> = underway.iter().zip(troubles).collect();
        let is_failing = told.iter().any(|(one, trouble)| one.is_stuck || trouble.is_some());
        let messages = told.into_iter().map(|(Underway { store, message, .. }, trouble)| match trouble {
            Some(trouble) => format!("{store}: {message} ({trouble}; it is tried again)"),
            None => format!("{store}: {message}"),
        });
        let messages = messages.collect();
        if underway.iter().all(|one| one.is_stopped) {
            let reason = if stack.life.stopped.is_some() { "Stopped" } else { "Paused" };
            return Self::Waiting { reason, messages };
        }
        Self::Underway { messages, is_failing }
    }

    /// What is not yet as the spec says.
    pub(super) fn pending(&self) -> &[String] {
        match self {
            Self::Underway { messages, .. } => messages,
            _ => &[],
        }
    }

    pub(super) fn claim(&self) -> Option<Claim> {
        Some(match self {
            Self::NotAskedFor => return None,
            Self::Done => {
                claim(ROTATED, true, "Rotated", "every managed store has the credentials last asked for")
            }
            Self::NoPasswords => claim(ROTATED, false, "NoPasswords", NO_PASSWORDS),
            Self::Underway { messages, is_failing: true } => {
                claim(ROTATED, false, ROTATION_FAILING, &messages.join("; "))
            }
            Self::Underway { messages, is_failing: false } => {
                claim(ROTATED, false, "Rotating", &messages.join("; "))
            }
            Self::Waiting { reason, messages } => claim(ROTATED, false, reason, &messages.join("; ")),
        })
    }
}

const NO_PASSWORDS: &str = "mongodb: rotatedAt changes nothing, since the flavour ferretdb, which the operator was installed with, \
                            knows no passwords";

/// Why a Job has not done it yet, in its own words where it has any.
fn trouble(stack: &Validated, underway: &Underway, pods: &[PodView]) -> Option<String> {
    let is_of_store = |pod: &&PodView| {
        pod.metadata.labels.as_ref().and_then(|labels| labels.get(ROTATES)).map(String::as_str)
            == Some(underway.store)
    };
    let failed = stack.jobs.iter().find_map(|(name, state)| match state {
        JobState::Failed(reason) if underway.message.ends_with(name.as_str()) => Some(reason.clone()),
        _ => None,
    });
    let mut of_pods = pods
        .iter()
        .filter(is_of_store)
        .filter_map(|pod| pod.last_words().map(str::to_owned).or_else(|| pod.trouble()));
    of_pods.next().or(failed)
}
