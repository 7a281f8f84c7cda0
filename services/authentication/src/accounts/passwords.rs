use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;
use weft_mesh::Caller;

use super::{AccountError, Accounts};
use crate::email::Email;
use crate::limits::{Counted, failures_key};
use crate::password::{self, Verdict};
use crate::store::PasswordChange;
use crate::user::Account;

/// Stands for the address in the limit of failed password changes.
const CHANGE: &str = "change of password";

impl Accounts {
    /// Changes the caller's password and ends the caller's other sessions. A client whose reply was lost may repeat the change: when
    /// the new password is already the stored one, the call succeeds without effect.
    ///
    /// # Errors
    /// When the caller is not signed in, the current password is wrong, or the new one breaks the rules. Wrong passwords
    /// and repeats count against the same limit as failed sign-ins; otherwise each would be a free guess.
    pub async fn change_password(
        &self,
        caller: Option<&Caller>,
        current: &SecretString,
        new: &SecretString,
    ) -> Result<(), AccountError> {
        let (account, session_id) = self.signed_in(caller).await?;
        password::check_given("current_password", current.expose_secret())?;
        password::check_new("new_password", new.expose_secret(), &account.user.known())?;
        let counted = Counted {
            address: format!("{CHANGE} {}", account.user.id),
            key: failures_key(&Email::known(&account.user.email)?, CHANGE),
        };
        let attempt = self.begin_attempt(&counted).await?;
        match self.verify_and_change(caller, account, session_id, current, new).await {
            Ok(None) => {
                attempt.give_back().await;
                self.wake.all();
                Ok(())
            }
            Ok(Some(account)) => {
                // Counted before the new password is checked, so that an error in between does not make a guess free.
                attempt.fail().await?;
                match self.hasher.verify(new, Some(&account.password_hash)).await? {
                    Verdict::Wrong => Err(AccountError::WrongPassword),
                    Verdict::Right { .. } => Ok(()),
                }
            }
            Err(error) => {
                attempt.give_back().await;
                Err(error)
            }
        }
    }

    /// Changes the password if the current one is right. Otherwise returns the account that was checked.
    async fn verify_and_change(
        &self,
        caller: Option<&Caller>,
        mut account: Account,
        session_id: Uuid,
        current: &SecretString,
        new: &SecretString,
    ) -> Result<Option<Account>, AccountError> {
        loop {
            if self.hasher.verify(current, Some(&account.password_hash)).await? == Verdict::Wrong {
                return Ok(Some(account));
            }
            let change = PasswordChange {
                user_id: account.user.id,
                session_id,
                old_hash: account.password_hash,
                new_hash: self.hasher.hash(new).await?,
                now: self.now(),
            };
            let letters = [self.entry(&account.user, Some(session_id), "changed the password")];
            if self.store.change_password(&change, &letters).await? {
                return Ok(None);
            }
            // The password or the account has changed since it was read.
            (account, _) = self.signed_in(caller).await?;
        }
    }
}
