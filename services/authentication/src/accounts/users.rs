use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;
use weft_mesh::Caller;
use weft_values::text;

use super::{AccountError, Accounts, Invalid};
use crate::email::Email;
use crate::password::{self, Verdict};
use crate::store::Creation;
use crate::user::{Account, Role, User};

/// A user to be created.
#[derive(Debug)]
pub struct NewUser {
    /// Chosen by the client; makes the call idempotent.
    pub id: Uuid,
    pub email: String,
    pub first_name: String,
    pub last_name: String,
    pub password: SecretString,
    pub role: Role,
}

impl Accounts {
    /// The caller's user.
    ///
    /// # Errors
    /// When the caller is not signed in.
    pub async fn caller(&self, caller: Option<&Caller>) -> Result<User, AccountError> {
        Ok(self.signed_in(caller).await?.0.user)
    }

    /// Creates a user. Idempotent by id: a repeat returns the user as created. Also returns whether this call created the user.
    ///
    /// # Errors
    /// When the caller is not an admin, a field is invalid, another user has the address, or the user with this id was created with
    /// other content or was deleted.
    pub async fn create_user(
        &self,
        caller: Option<&Caller>,
        new: NewUser,
    ) -> Result<(User, bool), AccountError> {
        let admin = self.admin(caller).await?;
        let email = Email::parse(&new.email)?;
        check_name("first_name", &new.first_name)?;
        check_name("last_name", &new.last_name)?;
        let known = [email.as_str(), &new.first_name, &new.last_name];
        password::check_new("password", new.password.expose_secret(), &known)?;
        if let Some(found) = self.created_before(&new, &email).await? {
            return Ok((found, false));
        }
        let now = self.now();
        let user = User {
            id: new.id,
            email: email.as_str().to_owned(),
            first_name: new.first_name.clone(),
            last_name: new.last_name.clone(),
            role: new.role,
            active: true,
            created_at: now,
            updated_at: now,
        };
        let account = Account { user, password_hash: self.hasher.hash(&new.password).await? };
        let letters = [self.entry(&account.user, None, &format!("was created by {}", admin.email))];
        if self.store.insert_account(&account, &letters).await? {
            self.wake.all();
            return Ok((account.user, true));
        }
        // A concurrent call, perhaps a repeat of this one, has created a user with the same id or address.
        let found = self.created_before(&new, &email).await?;
        found.map(|user| (user, false)).ok_or(AccountError::Taken("email"))
    }

    /// The user with this id as created, if all fields were as in the request.
    async fn created_before(&self, new: &NewUser, email: &Email) -> Result<Option<User>, AccountError> {
        // The address first: if a repeat of this call creates the user between the two reads, the second one finds it.
        let holder = self.store.account_by_email(email.as_str()).await?;
        let Account { user, password_hash } = match self.store.creation(new.id).await? {
            Creation::Of(account) => account,
            Creation::Deleted => return Err(AccountError::Deleted),
            Creation::Unknown if holder.is_some() => return Err(AccountError::Taken("email")),
            Creation::Unknown => return Ok(None),
        };
        let same = user.email == email.as_str()
            && user.first_name == new.first_name
            && user.last_name == new.last_name
            && user.role == new.role;
        // The password last, because its check is expensive.
        let same = same && self.hasher.verify(&new.password, Some(&password_hash)).await? != Verdict::Wrong;
        if same { Ok(Some(user)) } else { Err(AccountError::OtherContent) }
    }

    /// A page of users, ordered by address, and the address after which the next page begins.
    ///
    /// # Errors
    /// When the caller is not an admin.
    pub async fn users(
        &self,
        caller: Option<&Caller>,
        after: &str,
        limit: u32,
    ) -> Result<(Vec<User>, Option<String>), AccountError> {
        self.admin(caller).await?;
        // One more than requested, to know whether there is a next page.
        let mut users = self.store.users_after(after, limit.saturating_add(1)).await?;
        let size = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = users.len() > size;
        users.truncate(size);
        let next = users.last().filter(|_| more).map(|user| user.email.clone());
        Ok((users, next))
    }
}

pub(super) fn check_name(field: &'static str, name: &str) -> Result<(), Invalid> {
    text::person_name(name).map_err(|error| Invalid { field, reason: error.reason() })
}
