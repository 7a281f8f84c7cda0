//! Is this process ready to be used? Liveness needs no state: a process that can answer is alive.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a process is still waiting for. Ready when nothing is left, and not before it has said what it waits for.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    draining: bool,
    waiting: BTreeMap<&'static str, Option<String>>,
}

/// One thing that has to be in order before the process is ready.
#[derive(Debug, Clone)]
pub struct Condition {
    health: Health,
    name: &'static str,
}

impl Health {
    /// Adds a condition, not fulfilled yet.
    pub fn condition(&self, name: &'static str) -> Condition {
        self.state().waiting.insert(name, Some("starting".to_owned()));
        Condition { health: self.clone(), name }
    }

    /// From now on never ready again: the process is ending.
    pub fn drain(&self) {
        self.state().draining = true;
    }

    /// Nothing when ready, else `name: reason` for each thing that is missing.
    pub fn missing(&self) -> Vec<String> {
        let state = self.state();
        if state.waiting.is_empty() && !state.draining {
            return vec!["process: starting".to_owned()];
        }
        let waiting =
            state.waiting.iter().filter_map(|(name, reason)| Some(format!("{name}: {}", reason.as_ref()?)));
        state
            .draining
            .then(|| "draining: the process is ending".to_owned())
            .into_iter()
            .chain(waiting)
            .collect()
    }

    /// True when nothing is missing.
    pub fn is_ready(&self) -> bool {
        self.missing().is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Condition {
    /// The condition holds.
    pub fn fulfilled(&self) {
        self.health.state().waiting.insert(self.name, None);
    }

    /// The condition does not hold, and why.
    pub fn missing(&self, reason: impl Into<String>) {
        self.health.state().waiting.insert(self.name, Some(reason.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::Health;

    #[test]
    fn ready_when_every_condition_holds_and_never_again_once_draining() {
        let health = Health::default();
        assert_eq!(health.missing(), ["process: starting"]);
        let store = health.condition("mongodb");
        assert_eq!(health.missing(), ["mongodb: starting"]);
        store.fulfilled();
        assert!(health.is_ready());
        store.missing("connection refused");
        assert_eq!(health.missing(), ["mongodb: connection refused"]);
        store.fulfilled();
        health.drain();
        assert!(!health.is_ready());
    }
}
