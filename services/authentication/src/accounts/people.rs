use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;
use weft_mesh::Caller;

use super::{AccountError, Accounts, Invalid};
use crate::email::Email;
use crate::password;
use crate::session::Session;
use crate::store::Deactivation;
use crate::user::{Account, Role, User};

const LONGEST_NAME: usize = 128;

/// A person to be added.
#[derive(Debug)]
pub struct NewUser {
    /// Made by the caller.
    pub id: Uuid,
    /// The address.
    pub email: String,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// The first password.
    pub password: SecretString,
    /// What the person may do.
    pub role: Role,
}

impl Accounts {
    /// The caller.
    ///
    /// # Errors
    /// When the caller is not signed in.
    pub async fn caller(&self, caller: Option<&Caller>) -> Result<User, AccountError> {
        Ok(self.signed_in(caller).await?.0.user)
    }

    /// Adds a person, and says whether that is new.
    ///
    /// # Errors
    /// When the caller is no admin, a field is wrong, or somebody else has the address or the id.
    pub async fn create_user(
        &self,
        caller: Option<&Caller>,
        new: NewUser,
    ) -> Result<(User, bool), AccountError> {
        let admin = self.admin(caller).await?;
        let NewUser { id, email, first_name, last_name, password, role } = new;
        let email = Email::parse(&email)?;
        check_name("first_name", &first_name)?;
        check_name("last_name", &last_name)?;
        password::check_new("password", password.expose_secret())?;
        if let Some(found) = self.created_before(id, &email).await? {
            return Ok((found, false));
        }
        let now = self.now();
        let user = User {
            id,
            email: email.as_str().to_owned(),
            first_name,
            last_name,
            role,
            active: true,
            created_at: now,
            updated_at: now,
        };
        let account = Account { user, password_hash: self.hasher.hash(&password).await? };
        let letters = [self.entry(&account.user, None, &format!("was created by {}", admin.email))];
        if self.store.insert_account(&account, &letters).await? {
            self.wake.all();
            return Ok((account.user, true));
        }
        // Somebody was faster: this call's twin, or another.
        let found = self.created_before(id, &email).await?;
        found.map(|user| (user, false)).ok_or(AccountError::Taken("email"))
    }

    async fn created_before(&self, id: Uuid, email: &Email) -> Result<Option<User>, AccountError> {
        if let Some(Account { user, .. }) = self.store.account_by_id(id).await? {
            let same = user.email.to_lowercase() == email.folded();
            return if same { Ok(Some(user)) } else { Err(AccountError::Taken("id")) };
        }
        match self.store.account_by_email(email.as_str()).await? {
            Some(_) => Err(AccountError::Taken("email")),
            None => Ok(None),
        }
    }

    /// Refuses a person from now on and ends all sessions. One who is inactive already is no error.
    ///
    /// # Errors
    /// When the caller is no admin, there is no such person, or it is the last active admin.
    pub async fn deactivate_user(&self, caller: Option<&Caller>, id: Uuid) -> Result<User, AccountError> {
        let admin = self.admin(caller).await?;
        let what = format!("was deactivated by {}", admin.email);
        let accounts = self.clone();
        let letters = move |user: &User, _: &[Session]| vec![accounts.entry(user, None, &what)];
        match self.store.deactivate(id, self.now(), Box::new(letters)).await? {
            Deactivation::Done(user) => {
                self.wake.all();
                Ok(user)
            }
            Deactivation::Unknown => Err(AccountError::NotFound("user")),
            Deactivation::LastAdmin => Err(AccountError::LastAdmin),
        }
    }

    /// A page of all people by address, and where the next one begins.
    ///
    /// # Errors
    /// When the caller is no admin.
    pub async fn users(
        &self,
        caller: Option<&Caller>,
        after: &str,
        limit: u32,
    ) -> Result<(Vec<User>, Option<String>), AccountError> {
        self.admin(caller).await?;
        // One more than asked for tells whether there is a next page.
        let mut users = self.store.users_after(after, limit.saturating_add(1)).await?;
        let size = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = users.len() > size;
        users.truncate(size);
        let next = users.last().filter(|_| more).map(|user| user.email.clone());
        Ok((users, next))
    }
}

fn check_name(field: &'static str, name: &str) -> Result<(), Invalid> {
    if name.chars().count() > LONGEST_NAME {
        return Err(Invalid { field, reason: "it has more than 128 characters" });
    }
    if name.chars().any(char::is_control) {
        return Err(Invalid { field, reason: "it has a control character" });
    }
    Ok(())
}
