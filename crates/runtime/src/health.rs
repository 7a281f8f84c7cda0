//! Readiness of the process. Liveness needs no state: a process that can answer is alive.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Conditions for readiness. The process is ready once at least one condition is registered and all are fulfilled.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    draining: bool,
    waiting: BTreeMap<&'static str, Option<String>>,
}

/// One condition for readiness.
#[derive(Debug, Clone)]
pub struct Condition {
    health: Health,
    name: &'static str,
}

impl Health {
    /// Registers a condition that is not fulfilled yet.
    pub fn condition(&self, name: &'static str) -> Condition {
        self.state().waiting.insert(name, Some("starting".to_owned()));
        Condition { health: self.clone(), name }
    }

    /// Makes the process not ready for good, because it is shutting down.
    pub fn drain(&self) {
        self.state().draining = true;
    }

    /// `name: reason` of each condition that is not fulfilled; empty when the process is ready.
    pub fn missing(&self) -> Vec<String> {
        let state = self.state();
        if state.waiting.is_empty() && !state.draining {
            return vec!["process: starting".to_owned()];
        }
        let waiting =
            state.waiting.iter().filter_map(|(name, reason)| Some(format!("{name}: {}", reason.as_ref()?)));
        state
            .draining
            .then(|| "draining: the process is shutting down".to_owned())
            .into_iter()
            .chain(waiting)
            .collect()
    }

    /// True when all conditions are fulfilled.
    pub fn is_ready(&self) -> bool {
        self.missing().is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Condition {
    /// Marks the condition as fulfilled.
    pub fn fulfilled(&self) {
        self.health.state().waiting.insert(self.name, None);
    }

    /// Marks the condition as not fulfilled, for this reason.
    pub fn missing(&self, reason: impl Into<String>) {
        self.health.state().waiting.insert(self.name, Some(reason.into()));
    }
}

#[cfg(test)]
mod tests {
    use super::Health;

    #[test]
    fn is_ready_while_all_conditions_are_fulfilled_and_never_while_draining() {
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
