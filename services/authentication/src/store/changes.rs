use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::{Compose, StoreError};
use crate::user::{Role, User};

/// What admins change about people. No change leaves the store without an active admin, also when several run at once.
#[async_trait]
pub trait Changes: Send + Sync + 'static {
    /// Changes a person. One who becomes inactive loses all sessions. The letters are written unless everything was so before.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn change_user(
        &self,
        id: Uuid,
        change: &UserChange,
        now: Timestamp,
        letters: Compose,
    ) -> Result<Changed, StoreError>;

    /// Deletes a person with all sessions.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn delete_user(&self, id: Uuid, now: Timestamp, letters: Compose) -> Result<Changed, StoreError>;

    /// Whether a person with this address was deleted, upper and lower case not told apart.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn was_deleted(&self, email: &str) -> Result<bool, StoreError>;
}

/// What to change about a person. `None` leaves it as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserChange {
    /// What the person may do.
    pub role: Option<Role>,
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// Whether the person may sign in.
    pub active: Option<bool>,
}

impl UserChange {
    /// The person with the change; the time of the change is not set.
    pub fn applied_to(&self, user: &User) -> User {
        let Self { role, first_name, last_name, active } = self.clone();
        User {
            role: role.unwrap_or(user.role),
            first_name: first_name.unwrap_or_else(|| user.first_name.clone()),
            last_name: last_name.unwrap_or_else(|| user.last_name.clone()),
            active: active.unwrap_or(user.active),
            ..user.clone()
        }
    }
}

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// It is done, now or since before: the person as they are, or were when they were deleted.
    Done(User),
    /// There is no such person.
    Unknown,
    /// The person is the last active admin, who must stay.
    LastAdmin,
}
