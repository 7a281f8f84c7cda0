use weft_mesh::Caller;
use weft_runtime::telemetry::chain;

use super::{AccountError, Accounts};
use crate::keys::{Key, KeyError};

impl Accounts {
    /// Makes a new signing key in place of the others; with `revoke` those are dropped at once.
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
        let key = self.keys.rotate(&*self.store, revoke, &letters).await?;
        self.wake.all();
        tracing::info!(kid = %key.id, revoke, user.id = %admin.id, "an admin has replaced the signing keys");
        Ok(key)
    }

    /// Learns the keys as they are now: a replica that has not looked yet would publish one that another has revoked. Without the store
    /// those that are known stay.
    pub async fn look_at_keys(&self) {
        if let Err(error) = self.keys.refresh(&*self.store).await {
            tracing::debug!(
                error = chain(&error),
                "failed to look at the signing keys before publishing them"
            );
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
