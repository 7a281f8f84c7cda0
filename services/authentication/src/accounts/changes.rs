use uuid::Uuid;
use weft_mesh::Caller;

use super::users::check_name;
use super::{AccountError, Accounts};
use crate::session::Session;
use crate::store::{Changed, Compose, UserChange};
use crate::user::User;

/// Changes to users by admins. The last active admin can't be demoted, deactivated or deleted.
impl Accounts {
    /// Changes role and name.
    ///
    /// # Errors
    /// When the caller is not an admin, a name is invalid, or the user does not exist or is the last active admin.
    pub async fn update_user(
        &self,
        caller: Option<&Caller>,
        id: Uuid,
        change: UserChange,
    ) -> Result<User, AccountError> {
        let names = [("first_name", &change.first_name), ("last_name", &change.last_name)];
        let admin = self.admin(caller).await?;
        for (field, name) in names {
            name.as_deref().map_or(Ok(()), |name| check_name(field, name))?;
        }
        let what = match change.role {
            Some(role) => format!("was given the role {} by {}", role.as_str(), admin.email),
            None => format!("was renamed by {}", admin.email),
        };
        self.change(id, &change, what).await
    }

    /// Deactivates a user and ends all of the user's sessions. Idempotent.
    ///
    /// # Errors
    /// When the caller is not an admin, or the user does not exist or is the last active admin.
    pub async fn deactivate_user(&self, caller: Option<&Caller>, id: Uuid) -> Result<User, AccountError> {
        let admin = self.admin(caller).await?;
        let change = UserChange { active: Some(false), ..UserChange::default() };
        self.change(id, &change, format!("was deactivated by {}", admin.email)).await
    }

    /// Lets a user sign in again. Idempotent.
    ///
    /// # Errors
    /// When the caller is not an admin, or the user does not exist.
    pub async fn reactivate_user(&self, caller: Option<&Caller>, id: Uuid) -> Result<User, AccountError> {
        let admin = self.admin(caller).await?;
        let change = UserChange { active: Some(true), ..UserChange::default() };
        self.change(id, &change, format!("was reactivated by {}", admin.email)).await
    }

    /// Deletes a user and all of the user's sessions. Log entries are kept.
    ///
    /// # Errors
    /// When the caller is not an admin, or the user does not exist or is the last active admin.
    pub async fn delete_user(&self, caller: Option<&Caller>, id: Uuid) -> Result<(), AccountError> {
        let admin = self.admin(caller).await?;
        let letters = self.entry_on_change(format!("was deleted by {}", admin.email));
        self.changed(self.store.delete_user(id, self.now(), letters).await?).map(drop)
    }

    async fn change(&self, id: Uuid, change: &UserChange, what: String) -> Result<User, AccountError> {
        self.changed(self.store.change_user(id, change, self.now(), self.entry_on_change(what)).await?)
    }

    fn entry_on_change(&self, what: String) -> Compose {
        let accounts = self.clone();
        Box::new(move |user: &User, _: &[Session]| vec![accounts.entry(user, None, &what)])
    }

    fn changed(&self, changed: Changed) -> Result<User, AccountError> {
        match changed {
            Changed::Done(user) => {
                self.wake.all();
                Ok(user)
            }
            Changed::NotFound => Err(AccountError::NotFound("user")),
            Changed::LastAdmin => Err(AccountError::LastAdmin),
        }
    }
}
