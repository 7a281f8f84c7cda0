use secrecy::{ExposeSecret as _, SecretString};
use weft_mesh::Caller;

use super::{AccountError, Accounts};
use crate::email::Email;
use crate::limits::failures_key;
use crate::password::{self, Verdict};
use crate::store::PasswordChange;

/// What failures of a signed-in person are counted under, in place of an address.
const CHANGE: &str = "change of password";

impl Accounts {
    /// Changes the caller's password and ends the caller's other sessions. A repeat of a change that was done, whose reply was lost,
    /// succeeds without effect.
    ///
    /// # Errors
    /// When the caller is not signed in, the current password is another one, or the new one breaks the rules. Wrong
    /// ones are slowed as at a sign-in, and so are repeats: otherwise each would be a free guess at the password.
    pub async fn change_password(
        &self,
        caller: Option<&Caller>,
        current: &SecretString,
        new: &SecretString,
    ) -> Result<(), AccountError> {
        let (mut account, session_id) = self.signed_in(caller).await?;
        password::check_given("current_password", current.expose_secret())?;
        password::check_new("new_password", new.expose_secret())?;
        let failures = failures_key(&Email::known(&account.user.email)?, CHANGE);
        let before = self.store.failures(&failures).await?;
        if let Some(wait) = before.and_then(|failures| failures.wait(self.now())) {
            return Err(AccountError::TooOften(wait));
        }
        loop {
            let verdict = self.hasher.verify(current, Some(&account.password_hash)).await?;
            if verdict == Verdict::Wrong {
                // Counted before the new one is looked at: an error meanwhile must not make a guess free.
                self.store.add_failure(&failures, self.now()).await?;
                return match self.hasher.verify(new, Some(&account.password_hash)).await? {
                    Verdict::Wrong => Err(AccountError::WrongPassword),
                    Verdict::Right { .. } => Ok(()),
                };
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
                self.wake.all();
                return Ok(());
            }
            // Another call has changed it, or the person is inactive now: look again.
            (account, _) = self.signed_in(caller).await?;
        }
    }
}
