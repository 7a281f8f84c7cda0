use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::{Compose, StoreError};
use crate::limits::Rate;
use crate::outbox::Letter;
use crate::session::RefreshHash;
use crate::user::{Account, User};

/// Password resets.
#[async_trait]
pub trait Resets: Send + Sync + 'static {
    /// Writes a letter, unless one of the limits is used up: then returns how long to wait. Does the same whoever has the address.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn ask_for_reset(&self, ask: &ResetAsk) -> Result<Option<Duration>, StoreError>;

    /// Writes letters that go with no other change.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn write_letters(&self, letters: &[Letter]) -> Result<(), StoreError>;

    /// Keeps the hash of a new token for the active person with this address, and returns the person. `None` when there is none.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn add_reset(
        &self,
        email: &str,
        token: &RefreshHash,
        expires_at: Timestamp,
    ) -> Result<Option<User>, StoreError>;

    /// The active person whom a token is for, unless it has expired; and whether it was used.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn reset_of(
        &self,
        token: &RefreshHash,
        now: Timestamp,
    ) -> Result<Option<(Account, bool)>, StoreError>;

    /// Uses a token: sets a new password, ends all sessions and deletes the person's other tokens. Returns whether it did: not when the
    /// token was used or has expired, or the person is inactive.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn reset_password(&self, reset: &PasswordReset, letters: Compose) -> Result<bool, StoreError>;
}

/// A request for a reset mail.
#[derive(Debug, Clone)]
pub struct ResetAsk {
    /// What is counted, under which key.
    pub limits: Vec<([u8; 32], Rate)>,
    /// The mail to be.
    pub letter: Letter,
    /// The present moment.
    pub now: Timestamp,
}

/// A new password, by a token.
#[derive(Debug, Clone)]
pub struct PasswordReset {
    /// The token.
    pub token: RefreshHash,
    /// Whose it is.
    pub user_id: Uuid,
    /// The hash of the new password.
    pub new_hash: String,
    /// The present moment.
    pub now: Timestamp,
}
