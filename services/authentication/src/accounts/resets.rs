use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;
use weft_mesh::Caller;

use super::{AccountError, Accounts, Invalid};
use crate::email::Email;
use crate::limits::{Counted, Rate, address_key, counted_as, failures_key};
use crate::outbox::{Letter, Message};
use crate::password::{self, Verdict};
use crate::reset_link;
use crate::session::{RefreshHash, Session, refresh_hash};
use crate::store::{PasswordReset, ResetAsk};
use crate::user::{Account, User};

/// Mails that may be asked for one address, by whomever.
const MAILS: Rate = Rate { burst: 3, every: Duration::from_secs(1_200) };
/// What repeats of a reset are counted under, in place of a network.
const REPEAT: &str = "password reset";

/// Password resets.
impl Accounts {
    /// Has a reset link sent, if somebody has the address. Neither the answer nor its time tells whether: the same is written for every
    /// address, and the relay looks who has it.
    ///
    /// # Errors
    /// When a field is invalid, mails were asked for too often for this address or from this network, or there is no console for a
    /// link to lead to.
    pub async fn ask_for_reset(&self, email: &str, client_address: &str) -> Result<(), AccountError> {
        self.check_console()?;
        let email = Email::known(email)?;
        let invalid = Invalid { field: "client_address", reason: "expected an IP address" };
        let network = address_key(client_address).ok_or(invalid)?;
        let of_network = self.rules.sign_in_rate.map(|rate| (counted_as("network", &network), rate));
        let of_address = (counted_as("address", &email.folded()), MAILS);
        let ask = ResetAsk {
            limits: of_network.into_iter().chain([of_address]).collect(),
            letter: self.reset_mail(email.as_str()),
            now: self.now(),
        };
        if let Some(wait) = self.store.ask_for_reset(&ask).await? {
            return Err(AccountError::TooOften(wait));
        }
        self.wake.one(ask.letter.message.recipient());
        Ok(())
    }

    /// Has a reset link sent to a user, for an admin.
    ///
    /// # Errors
    /// When the caller is not an admin, there is no such user, the user is inactive, or there is no console for a link to lead to.
    pub async fn start_reset(&self, caller: Option<&Caller>, id: Uuid) -> Result<(), AccountError> {
        let admin = self.admin(caller).await?;
        self.check_console()?;
        let account = self.store.account_by_id(id).await?;
        let Account { user, .. } = account.ok_or(AccountError::NotFound("user"))?;
        if !user.active {
            return Err(AccountError::Inactive);
        }
        let what = format!("was sent a link to reset the password by {}", admin.email);
        self.store.write_letters(&[self.reset_mail(&user.email), self.entry(&user, None, &what)]).await?;
        self.wake.all();
        Ok(())
    }

    /// Sets a new password by the token of a reset link, which is then used up, and ends all sessions. A repeat of a reset that was
    /// done, whose reply was lost, succeeds without effect.
    ///
    /// # Errors
    /// When the password breaks the rules, or the token is unknown, used or expired.
    pub async fn reset_password(&self, token: &SecretString, new: &SecretString) -> Result<(), AccountError> {
        password::check_new("new_password", new.expose_secret())?;
        let token = refresh_hash(token.expose_secret()).ok_or(AccountError::ResetLink)?;
        let found = self.store.reset_of(&token, self.now()).await?;
        let (Account { user, .. }, was_used) = found.ok_or(AccountError::ResetLink)?;
        if was_used {
            return self.repeated_reset(&token, new).await;
        }
        let new_hash = self.hasher.hash(new).await?;
        let reset = PasswordReset { token, user_id: user.id, new_hash, now: self.now() };
        let accounts = self.clone();
        let letters = move |user: &User, _: &[Session]| {
            vec![accounts.entry(user, None, "set a new password by a reset link")]
        };
        if self.store.reset_password(&reset, Box::new(letters)).await? {
            self.wake.all();
            return Ok(());
        }
        // Used meanwhile: by a twin of this call, or by another.
        self.repeated_reset(&token, new).await
    }

    /// Slowed as a sign-in is: otherwise each repeat would be a free guess at the password.
    async fn repeated_reset(&self, token: &RefreshHash, new: &SecretString) -> Result<(), AccountError> {
        let found = self.store.reset_of(token, self.now()).await?;
        let (Account { user, password_hash }, true) = found.ok_or(AccountError::ResetLink)? else {
            return Err(AccountError::ResetLink);
        };
        let counted = Counted {
            address: format!("{REPEAT} {}", user.id),
            key: failures_key(&Email::known(&user.email)?, REPEAT),
        };
        let taken = self.begin_attempt(&counted).await?;
        self.fail(&counted, taken).await?;
        match self.hasher.verify(new, Some(&password_hash)).await? {
            Verdict::Right { .. } => Ok(()),
            Verdict::Wrong => Err(AccountError::ResetLink),
        }
    }

    fn check_console(&self) -> Result<(), AccountError> {
        self.rules.console.as_ref().map(drop).ok_or(AccountError::NoConsole)
    }

    /// The mail without its link, which is made when it is sent.
    fn reset_mail(&self, email: &str) -> Letter {
        let template = reset_link::TEMPLATE.to_owned();
        self.letter(Message::Mail { template, to: email.to_owned(), values: BTreeMap::new() })
    }
}
