use weft_mesh::Caller;
use weft_runtime::telemetry::chain;

use super::{AccountError, Accounts};
use crate::keys::KeyError;
use crate::store::Key;

impl Accounts {
    /// Creates a new signing key that replaces the others. With `revoke`, the others are deleted at once.
    ///
    /// # Errors
    /// When the caller is not an admin.
    pub async fn rotate_signing_keys(
        &self,
        caller: Option<&Caller>,
        revoke: bool,
    ) -> Result<Key, AccountError> {
        let admin = self.admin(caller).await?;
        let what = if revoke { "revoked the signing keys" } else { "replaced the signing keys" };
        let letters = [self.entry(&admin, None, what)];
        let key = self.keys.rotate(&self.store, revoke, &letters).await?;
        self.wake.all();
        tracing::info!(kid = %key.id, revoke, user.id = %admin.id, "an admin replaced the signing keys");
        Ok(key)
    }

    /// Loads the keys before they are published. Otherwise this replica could publish a key that another replica has revoked. If the
    /// store is unavailable, the loaded keys are kept.
    pub async fn refresh_keys(&self) {
        if let Err(error) = self.keys.refresh(&self.store).await {
            tracing::debug!(error = chain(&error), "failed to load the signing keys before publishing them");
        }
    }
}

impl From<KeyError> for AccountError {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Store(error) => Self::Store(error),
            KeyError::Key(error) => Self::Token(error),
            KeyError::Seal(error) => Self::Seal(error),
        }
    }
}
