use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};

use super::{AccountError, Accounts, Invalid, Tokens};
use crate::email::Email;
use crate::limits::{Counted, address_key, failures_key};
use crate::password::{self, HashError, Verdict};
use crate::session::{RefreshHash, Session, new_refresh_token};
use crate::store::{Opened, Opening};
use crate::user::{Account, User};

const MAX_AGENT_CHARACTERS: usize = 512;

/// A request to sign in.
#[derive(Debug)]
pub struct SignIn {
    pub email: String,
    pub password: SecretString,
    /// IP address of the client, as seen by the broker.
    pub client_address: String,
    pub user_agent: String,
}

/// A validated request.
struct Attempt {
    email: Email,
    counted: Counted,
    password: SecretString,
    client_address: String,
    user_agent: String,
}

impl Accounts {
    /// Checks a password and opens a session.
    ///
    /// # Errors
    /// [`AccountError::Credentials`] has the same message and takes the same time for an unknown address, a wrong password
    /// and an inactive user.
    pub async fn sign_in(&self, sign_in: SignIn) -> Result<(User, Tokens), AccountError> {
        let outcome = self.try_sign_in(sign_in).await;
        self.metrics.sign_in(match &outcome {
            Ok(_) => "signed_in",
            Err(AccountError::Credentials) => "refused",
            Err(AccountError::Invalid(_)) => "invalid",
            Err(AccountError::TooOften(_)) => "too_often",
            Err(AccountError::Hash(HashError::Busy)) => "busy",
            Err(AccountError::Store(error)) => error.kind(),
            Err(_) => "failed",
        });
        outcome
    }

    async fn try_sign_in(&self, sign_in: SignIn) -> Result<(User, Tokens), AccountError> {
        let attempt = validate(sign_in)?;
        let counted = self.begin_attempt(&attempt.counted).await?;
        let outcome = self.verify_and_open(&attempt).await;
        match &outcome {
            // Counted alike for every reason.
            Err(AccountError::Credentials) => counted.fail().await?,
            // The password was right, or was not checked.
            Ok(_) | Err(_) => counted.give_back().await,
        }
        outcome
    }

    async fn verify_and_open(&self, attempt: &Attempt) -> Result<(User, Tokens), AccountError> {
        loop {
            let account = self.store.account_by_email(attempt.email.as_str()).await?;
            let stored = account.as_ref().map(|account| account.password_hash.as_str());
            let verdict = self.hasher.verify(&attempt.password, stored).await?;
            let (Some(account), Verdict::Right { renewed }) = (account, verdict) else {
                return Err(AccountError::Credentials);
            };
            if !account.user.active {
                return Err(AccountError::Credentials);
            }
            // `None`: the account has changed since it was checked.
            if let Some(signed_in) = self.open(attempt, account, renewed).await? {
                return Ok(signed_in);
            }
        }
    }

    async fn open(
        &self,
        attempt: &Attempt,
        account: Account,
        renewed_hash: Option<String>,
    ) -> Result<Option<(User, Tokens)>, AccountError> {
        let Account { user, password_hash } = account;
        let session = self.new_session(&user, attempt, self.now());
        let (token, refresh): (_, RefreshHash) = new_refresh_token(&*self.random);
        // Before anything is stored, because it fails without a signing key.
        let tokens = self.grant(&user, session.clone(), token)?;
        let opening = Opening {
            letter: self.entry(&user, Some(session.id), "logged in"),
            session,
            refresh,
            checked_hash: password_hash,
            renewed_hash,
            failures: attempt.counted.key,
        };
        match self.store.open_session(&opening).await? {
            Opened::Done => {
                self.wake.one(opening.letter.message.recipient());
                Ok(Some((user, tokens)))
            }
            Opened::Stale => Ok(None),
        }
    }

    fn new_session(&self, user: &User, attempt: &Attempt, now: Timestamp) -> Session {
        Session {
            id: self.clock.new_id(),
            user_id: user.id,
            created_at: now,
            last_used_at: now,
            expires_at: self.rules.lifetimes.end_of(now),
            client_address: attempt.client_address.clone(),
            user_agent: attempt.user_agent.clone(),
        }
    }
}

/// Rejects invalid fields before a password is hashed. Does not depend on which users exist.
fn validate(sign_in: SignIn) -> Result<Attempt, Invalid> {
    let SignIn { email, password, client_address, user_agent } = sign_in;
    let email = Email::known(&email)?;
    password::check_given("password", password.expose_secret())?;
    let invalid = Invalid { field: "client_address", reason: "expected an IP address" };
    let address = address_key(&client_address).ok_or(invalid)?;
    Ok(Attempt {
        counted: Counted { key: failures_key(&email, &address), address },
        email,
        password,
        client_address,
        user_agent: user_agent.chars().filter(|c| !c.is_control()).take(MAX_AGENT_CHARACTERS).collect(),
    })
}
