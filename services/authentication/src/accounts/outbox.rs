use uuid::Uuid;
use weft_mesh::Caller;

use super::{AccountError, Accounts};
use crate::store::{FailedLetter, FailedQuery};
use crate::user::Role;

const LETTER: &str = "dead letter";

/// The failed letters of the outbox. Viewers may list them; everything else needs the role admin.
impl Accounts {
    /// A page of matching letters, ordered by time of failure.
    ///
    /// # Errors
    /// When the caller is neither a viewer nor an admin.
    pub async fn failed_letters(
        &self,
        caller: Option<&Caller>,
        query: &FailedQuery,
    ) -> Result<Vec<FailedLetter>, AccountError> {
        self.at_least(Role::Viewer, caller).await?;
        Ok(self.store.failed_letters(query).await?)
    }

    /// One failed letter.
    ///
    /// # Errors
    /// When the caller is not an admin, or the letter does not exist.
    pub async fn failed_letter(
        &self,
        caller: Option<&Caller>,
        id: Uuid,
    ) -> Result<FailedLetter, AccountError> {
        self.admin(caller).await?;
        self.store.failed_letter(id).await?.ok_or(AccountError::NotFound(LETTER))
    }

    /// Queues a failed letter for delivery again.
    ///
    /// # Errors
    /// When the caller is not an admin, or the letter does not exist.
    pub async fn deliver_again(&self, caller: Option<&Caller>, id: Uuid) -> Result<(), AccountError> {
        self.admin(caller).await?;
        if !self.store.deliver_again(id, self.now()).await? {
            return Err(AccountError::NotFound(LETTER));
        }
        self.wake.all();
        Ok(())
    }

    /// Deletes failed letters and returns their number.
    ///
    /// # Errors
    /// When the caller is not an admin.
    pub async fn remove_failed(&self, caller: Option<&Caller>, ids: &[Uuid]) -> Result<u64, AccountError> {
        self.admin(caller).await?;
        Ok(self.store.remove_failed(ids).await?)
    }
}
