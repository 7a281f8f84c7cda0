use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stack::Stack;

/// What becomes of the data when the Stack is deleted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeletionPolicy {
    /// It stays, and is found again.
    #[default]
    Retain,
    /// It goes, if the Stack's annotation allows it too.
    Delete,
}

/// On a Stack, with the value "true": what the deletion policy Delete needs as well.
pub const ALLOW_DATA_DELETION: &str = "weft.dev/allow-data-deletion";

impl Stack {
    /// True when the data goes with the Stack: the policy says so, and so does the annotation.
    pub fn deletes_data(&self) -> bool {
        let allowed = self.metadata.annotations.iter().flatten();
        self.spec.deletion_policy.unwrap_or_default() == DeletionPolicy::Delete
            && allowed.into_iter().any(|(key, value)| key == ALLOW_DATA_DELETION && value == "true")
    }

    /// True when nothing but the status is written.
    pub fn is_paused(&self) -> bool {
        self.spec.paused.unwrap_or(false)
    }

    /// True when everything shall be scaled to zero.
    pub fn is_stopped(&self) -> bool {
        self.spec.stopped.unwrap_or(false)
    }
}
