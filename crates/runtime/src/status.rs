//! What a service knows of the stores that it owns; the operator reads it at `/status` on the admin port.

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

impl StatusBoard {
    /// Replaces what is known of a store.
    pub fn set(&self, store: &'static str, status: StoreStatus) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(store, status);
    }

    /// Changes what is known of a store.
    pub fn update(&self, store: &'static str, change: impl FnOnce(&mut StoreStatus)) {
        change(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(store).or_default());
    }

    /// Everything known.
    pub fn all(&self) -> BTreeMap<&'static str, StoreStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
