//! How a Stack lives: what is paused, what is stopped.

use std::collections::BTreeSet;

use weft_operator_api::{Moment, Services, Stack};

use crate::names::{
    AUTHENTICATION, BROKER, FRONTEND, JAEGER, LISTENER, LOGGER, MAIL, MAILCATCHER, MONGODB, POSTGRES,
    RABBITMQ,
};
use crate::reconcile::dereference::NoteOn;

/// How a Stack lives.
#[derive(Clone, Debug, Default)]
pub struct LifePlan {
    /// Nothing is written.
    pub paused: bool,
    /// Nothing is written of these.
    pub paused_parts: BTreeSet<String>,
    /// The Stack is to be stopped, and this much of it may be at zero now.
    pub stopped: Option<Wave>,
    pub restarted_at: Option<Moment>,
    /// What is to be noted on volumes.
    pub notes: Vec<NoteOn>,
}

/// What stops together, and starts to stop only when the waves before are gone: what takes requests and events, what they
/// are handed to, what that is stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wave {
    Entry,
    Behind,
    Stores,
}

/// The wave of a workload. One of the user's own may call the services behind.
fn wave(name: &str) -> Wave {
    match name {
        AUTHENTICATION | LOGGER | MAIL => Wave::Behind,
        MONGODB | RABBITMQ | POSTGRES | MAILCATCHER | JAEGER => Wave::Stores,
        _ => Wave::Entry,
    }
}

impl LifePlan {
    /// True when it shall be at zero now.
    pub fn is_stopped(&self, name: &str) -> bool {
        self.stopped.is_some_and(|reached| wave(name) <= reached)
    }

    /// True when nothing of it is written.
    pub fn is_paused(&self, name: &str) -> bool {
        self.paused || self.paused_parts.contains(name)
    }
}

pub(super) fn life(stack: &Stack, running: &BTreeSet<String>, notes: Vec<NoteOn>) -> LifePlan {
    LifePlan {
        paused: stack.is_paused(),
        paused_parts: paused_parts(&stack.spec.services),
        stopped: stack.is_stopped().then(|| reached(running)),
        restarted_at: stack.spec.restarted_at.clone(),
        notes,
    }
}

fn paused_parts(services: &Services) -> BTreeSet<String> {
    let Services { broker, logger, listener, authentication, mail, frontend } = services;
    let all = [
        (BROKER, broker),
        (LOGGER, logger),
        (LISTENER, listener),
        (AUTHENTICATION, authentication),
        (MAIL, mail),
        (FRONTEND, frontend),
    ];
    let paused = all.into_iter().filter(|(_, service)| service.is_paused());
    paused.map(|(name, _)| name.to_owned()).collect()
}

/// How far it may go: a wave is due when no pod of those before it is left.
fn reached(running: &BTreeSet<String>) -> Wave {
    let first = running.iter().map(|name| wave(name)).min();
    first.unwrap_or(Wave::Stores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wave_is_due_when_those_before_it_are_gone() {
        let after = |left: &[&str]| reached(&left.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(after(&["broker", "logger", "mongodb"]), Wave::Entry);
        assert_eq!(after(&["orders", "mongodb"]), Wave::Entry, "a workload of the user's");
        assert_eq!(after(&["logger", "mongodb"]), Wave::Behind);
        assert_eq!(after(&["mongodb", "jaeger"]), Wave::Stores);
        assert_eq!(after(&[]), Wave::Stores);
    }
}
