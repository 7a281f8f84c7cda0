//! State of the stores that a service owns, and on the broker of the services that it calls. The operator reads it at `/status` on
//! the admin port.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// State of one store.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// The store answers.
    pub reachable: bool,
    /// The store accepts the credentials.
    pub authenticated: bool,
    /// The schema, indexes or queues are those of this version.
    pub migrated: bool,
    /// Version of the store, once known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<String>,
    /// What is wrong, as text for people.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
}

/// State of all stores of a service, by name.
#[derive(Debug, Clone, Default)]
pub struct StatusBoard(Arc<Mutex<BTreeMap<&'static str, StoreStatus>>>);

impl StoreStatus {
    /// True when the store is reachable, authenticated and migrated.
    pub fn is_usable(&self) -> bool {
        self.reachable && self.authenticated && self.migrated
    }
}

impl StatusBoard {
    /// Replaces the state of a store.
    pub fn set(&self, store: &'static str, status: StoreStatus) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(store, status);
    }

    /// Changes the state of a store.
    pub fn update(&self, store: &'static str, change: impl FnOnce(&mut StoreStatus)) {
        change(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(store).or_default());
    }

    /// True when the store is known to be usable.
    pub fn is_usable(&self, store: &str) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(store).is_some_and(StoreStatus::is_usable)
    }

    /// The state of all stores.
    pub fn all(&self) -> BTreeMap<&'static str, StoreStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
