use uuid::Uuid;
use weft_mesh::Caller;

use super::people::check_name;
use super::{AccountError, Accounts};
use crate::session::Session;
use crate::store::{Changed, Compose, UserChange};
use crate::user::User;

/// What an admin changes about people. The last active admin stays one.
impl Accounts {
    /// Changes role and name.
    ///
    /// # Errors
    /// When the caller is not an admin, a name is invalid, there is no such person, or it is the last active admin.
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

    /// Refuses a person from now on and ends all sessions. One who is inactive already is no error.
    ///
    /// # Errors
    /// When the caller is not an admin, there is no such person, or it is the last active admin.
    pub async fn deactivate_user(&self, caller: Option<&Caller>, id: Uuid) -> Result<User, AccountError> {
        let admin = self.admin(caller).await?;
        let change = UserChange { active: Some(false), ..UserChange::default() };
        self.change(id, &change, format!("was deactivated by {}", admin.email)).await
    }

    /// Lets a person sign in again. One who is active already is no error.
    ///
    /// # Errors
    /// When the caller is not an admin, or there is no such person.
    pub async fn reactivate_user(&self, caller: Option<&Caller>, id: Uuid) -> Result<User, AccountError> {
        let admin = self.admin(caller).await?;
        let change = UserChange { active: Some(true), ..UserChange::default() };
        self.change(id, &change, format!("was reactivated by {}", admin.email)).await
    }

    /// Deletes a person with all sessions. What was logged stays.
    ///
    /// # Errors
    /// When the caller is not an admin, there is no such person, or it is the last active admin.
    pub async fn delete_user(&self, caller: Option<&Caller>, id: Uuid) -> Result<(), AccountError> {
        let admin = self.admin(caller).await?;
        let letters = self.tells(format!("was deleted by {}", admin.email));
        self.changed(self.store.delete_user(id, self.now(), letters).await?).map(drop)
    }

    async fn change(&self, id: Uuid, change: &UserChange, what: String) -> Result<User, AccountError> {
        self.changed(self.store.change_user(id, change, self.now(), self.tells(what)).await?)
    }

    fn tells(&self, what: String) -> Compose {
        let accounts = self.clone();
        Box::new(move |user: &User, _: &[Session]| vec![accounts.entry(user, None, &what)])
    }

    fn changed(&self, changed: Changed) -> Result<User, AccountError> {
        match changed {
            Changed::Done(user) => {
                self.wake.all();
                Ok(user)
            }
            Changed::Unknown => Err(AccountError::NotFound("user")),
            Changed::LastAdmin => Err(AccountError::LastAdmin),
        }
    }
}
