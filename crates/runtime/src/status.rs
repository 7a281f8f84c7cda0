//! What a service knows of the stores that it owns, and the broker of those that it calls. The operator reads it at `/status` on the
//! admin port.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// One store, as its owner sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreStatus {
    /// It answers.
    pub reachable: bool,
    /// It takes our credentials.
    pub authenticated: bool,
    /// Its schema, indexes or queues are as this version wants them.
    pub migrated: bool,
    /// Its own version, once known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<String>,
    /// What is wrong, for a person.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
}

/// The stores of one service, by name.
#[derive(Debug, Clone, Default)]
pub struct StatusBoard(Arc<Mutex<BTreeMap<&'static str, StoreStatus>>>);

impl StoreStatus {
    /// True when it can be worked with.
    pub fn is_usable(&self) -> bool {
        self.reachable && self.authenticated && self.migrated
    }
}

impl StatusBoard {
    /// Replaces what is known of a store.
    pub fn set(&self, store: &'static str, status: StoreStatus) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(store, status);
    }

    /// Changes what is known of a store.
    pub fn update(&self, store: &'static str, change: impl FnOnce(&mut StoreStatus)) {
        change(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(store).or_default());
    }

    /// True when the store is known to be usable.
    pub fn is_usable(&self, store: &str) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(store).is_some_and(StoreStatus::is_usable)
    }

    /// Everything known.
    pub fn all(&self) -> BTreeMap<&'static str, StoreStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
