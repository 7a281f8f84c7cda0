//! The keys that authentication encrypts its signing keys with: their Secret, and how authentication gets them.

use super::deployment::Wiring;
use super::{Plan, secret};
use crate::names::{ENCRYPTION_KEYS, ENCRYPTION_SECRET};
use crate::reconcile::validate::{EncryptionKeys, Validated};

pub(super) fn add(plan: &mut Plan, stack: &Validated) {
    if let Some(EncryptionKeys::Fresh(key)) = &stack.encryption {
        plan.data_secrets.push(secret::encryption(stack, key));
    }
}

/// Gives authentication the keys; another list rolls it.
pub(super) fn wire(wiring: Wiring, stack: &Validated) -> Wiring {
    let digest = match &stack.encryption {
        None => return wiring,
        Some(EncryptionKeys::Kept(digest)) => digest.clone(),
        Some(EncryptionKeys::Fresh(key)) => {
            secret::digest(&secret::encryption(stack, key).data.unwrap_or_default())
        }
    };
    wiring
        .file("AUTH_ENCRYPTION_KEYS_FILE", "encryption", ENCRYPTION_SECRET, ENCRYPTION_KEYS, "keys")
        .input(digest)
}
