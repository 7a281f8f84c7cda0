//! What a pod template follows from: as long as it is the same, pods stay as they are, whatever this operator would make of
//! it that an earlier one did not.
//!
//! It holds what a user decides (the part of the spec that concerns the workload, restarts that were asked for), the image
//! of a built-in service in its version's map, and digests of the Secrets and ConfigMaps in use. What the operator decides
//! by itself (probes, ports, defaults, the stores' images) does not belong here: it would roll pods at an upgrade.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Tells apart what pod templates follow from.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(transparent)]
pub struct Basis(pub String);

impl Basis {
    /// Of these facts. The keys of objects are sorted, so that the order of fields in the source says nothing.
    pub fn of(facts: &Value) -> Self {
        Self(digest(facts.to_string().as_bytes()))
    }
}

/// Ten bytes are enough to tell a few apart, and short enough for a name.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(10).map(|byte| format!("{byte:02x}")).collect()
}
