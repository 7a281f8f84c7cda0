use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;
use weft_mesh::Caller;

use super::{AccountError, Accounts, Invalid};
use crate::email::Email;
use crate::limits::{Counted, Rate, address_key, failures_key, limit_key};
use crate::outbox::{Letter, Message};
use crate::password::{self, Verdict};
use crate::reset_link;
use crate::session::{RefreshHash, Session, refresh_hash};
use crate::store::{PasswordReset, ResetRequest};
use crate::user::{Account, User};

/// Limit of reset mails for each address, whoever requests them.
const MAILS: Rate = Rate { burst: 3, every: Duration::from_secs(1_200) };
/// Stands for the address in the limit of repeated resets.
const REPEAT: &str = "password reset";

/// Password resets.
impl Accounts {
    /// Sends a reset link, if a user has the address. Neither the response nor its time reveals whether one has: the same letter is
    /// written for every address, and the relay looks the user up.
    ///
    /// # Errors
    /// When a field is invalid, the limit of the address or of the network is reached, or `AUTH_CONSOLE_URL` is not set.
    pub async fn request_reset(&self, email: &str, client_address: &str) -> Result<(), AccountError> {
        self.check_console()?;
        let email = Email::known(email)?;
        let invalid = Invalid { field: "client_address", reason: "expected an IP address" };
        let network = address_key(client_address).ok_or(invalid)?;
        let network_limit = self.rules.sign_in_rate.map(|rate| (limit_key("network", &network), rate));
        let address_limit = (limit_key("address", &email.folded()), MAILS);
        let request = ResetRequest {
            limits: network_limit.into_iter().chain([address_limit]).collect(),
            letters: vec![self.reset_mail(email.as_str())],
            now: self.now(),
        };
        self.request(request).await
    }

    /// Sends a reset link to a user on behalf of an admin.
    ///
    /// # Errors
    /// When the caller is not an admin, the user does not exist or is inactive, admins have requested too many mails to the user, or
    /// `AUTH_CONSOLE_URL` is not set.
    pub async fn start_reset(&self, caller: Option<&Caller>, id: Uuid) -> Result<(), AccountError> {
        let admin = self.admin(caller).await?;
        self.check_console()?;
        let account = self.store.account_by_id(id).await?;
        let Account { user, .. } = account.ok_or(AccountError::NotFound("user"))?;
        if !user.active {
            return Err(AccountError::Inactive);
        }
        let what = format!("was sent a link to reset the password by {}", admin.email);
        let letters = vec![self.reset_mail(&user.email), self.entry(&user, None, &what)];
        // A limit of its own: what others request for the user's address must not keep an admin from helping.
        let limits = vec![(limit_key("admin", &user.id.to_string()), MAILS)];
        self.request(ResetRequest { limits, letters, now: self.now() }).await
    }

    async fn request(&self, request: ResetRequest) -> Result<(), AccountError> {
        if let Some(wait) = self.store.request_reset(&request).await? {
            return Err(AccountError::TooOften(wait));
        }
        self.wake.all();
        Ok(())
    }

    /// Sets a new password with the single-use token of a reset link, and ends all of the user's sessions. A client whose reply was
    /// lost may repeat the call with the same password.
    ///
    /// # Errors
    /// When the password breaks the rules, or the token is unknown, used or expired.
    pub async fn reset_password(&self, token: &SecretString, new: &SecretString) -> Result<(), AccountError> {
        let token = refresh_hash(token.expose_secret()).ok_or(AccountError::ResetLink)?;
        let found = self.store.reset_of(&token, self.now()).await?;
        let (Account { user, .. }, was_used) = found.ok_or(AccountError::ResetLink)?;
        // After the lookup: without a link nobody makes the service spend the time of this check.
        password::check_new("new_password", new.expose_secret(), &user.known())?;
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
        // A concurrent call, perhaps a repeat of this one, has used the token.
        self.repeated_reset(&token, new).await
    }

    /// Succeeds if the new password is already the stored one. Limited like a sign-in; otherwise each repeat would be a free guess.
    async fn repeated_reset(&self, token: &RefreshHash, new: &SecretString) -> Result<(), AccountError> {
        let found = self.store.reset_of(token, self.now()).await?;
        let (Account { user, password_hash }, true) = found.ok_or(AccountError::ResetLink)? else {
            return Err(AccountError::ResetLink);
        };
        let counted = Counted {
            address: format!("{REPEAT} {}", user.id),
            key: failures_key(&Email::known(&user.email)?, REPEAT),
        };
        self.begin_attempt(&counted).await?.fail().await?;
        match self.hasher.verify(new, Some(&password_hash)).await? {
            Verdict::Right { .. } => Ok(()),
            Verdict::Wrong => Err(AccountError::ResetLink),
        }
    }

    fn check_console(&self) -> Result<(), AccountError> {
        self.rules.console.as_ref().map(drop).ok_or(AccountError::NoConsole)
    }

    /// The reset mail without the link, which is created on delivery.
    fn reset_mail(&self, email: &str) -> Letter {
        let template = reset_link::TEMPLATE.to_owned();
        self.letter(Message::Mail { template, to: email.to_owned(), values: BTreeMap::new() })
    }
}
