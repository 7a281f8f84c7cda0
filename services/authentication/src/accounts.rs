//! What authentication does, apart from how it is asked and where it keeps things.

mod attempt;
mod changes;
mod mails;
mod outbox;
mod passwords;
mod people;
mod refresh;
mod resets;
mod sign_in;
mod sign_out;
mod signing_keys;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretString;
use uuid::Uuid;
use weft_mesh::Caller;
use weft_runtime::allowance::Allowance;
use weft_runtime::clock::Clock;

pub use attempt::Turns;
pub use people::NewUser;
pub use sign_in::SignIn;
pub use sign_out::SignOut;

use crate::config::FirstUser;
use crate::keys::KeyRing;
use crate::limits::Rate;
use crate::metrics::Metrics;
use crate::outbox::{Letter, Message, TraceContext};
use crate::password::{HashError, Hasher};
use crate::random::Random;
use crate::relay::Wake;
use crate::seal::SealError;
use crate::session::{Lifetimes, Session};
use crate::store::{OpenAt, PostgresStore, StoreError};
use crate::token::{Grant, TokenError};
use crate::user::{Account, Role, User};

/// Everything that authentication does. Clones share all of it.
#[derive(Clone)]
pub struct Accounts {
    /// Where everything is kept.
    pub store: Arc<PostgresStore>,
    /// Checks passwords.
    pub hasher: Hasher,
    /// Signs tokens.
    pub keys: KeyRing,
    /// The present moment.
    pub clock: Arc<dyn Clock>,
    /// What nobody can guess.
    pub random: Arc<dyn Random>,
    /// What is counted.
    pub metrics: Metrics,
    /// Tells the relays that there is something to deliver.
    pub wake: Wake,
    /// The rules.
    pub rules: Rules,
    /// Attempts at passwords that wait for others.
    pub turns: Turns,
    /// Mails to each user in an hour.
    pub mails: Option<Arc<Allowance>>,
}

/// What is set.
#[derive(Debug, Clone)]
pub struct Rules {
    /// `iss` of access tokens.
    pub issuer: String,
    /// How long an access token lives.
    pub token_life: Duration,
    /// How long sessions last.
    pub lifetimes: Lifetimes,
    /// Each address's allowance of failed sign-ins, and each user's of failed changes of the password.
    pub sign_in_rate: Option<Rate>,
    /// The console as browsers reach it.
    pub console: Option<String>,
}

/// What a person gets who has signed in.
#[derive(Debug)]
pub struct Tokens {
    /// For each call.
    pub access: SecretString,
    /// When it ends.
    pub access_expires_at: Timestamp,
    /// For the next of both.
    pub refresh: SecretString,
    /// Their session.
    pub session: Session,
}

/// A field of a call that can't be as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Invalid {
    /// Its name.
    pub field: &'static str,
    /// What is wrong, or wanted.
    pub reason: &'static str,
}

/// Why a call was not done.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// A field is wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// No such user, another password, or a user who may not sign in: which of them is not told.
    #[error("invalid credentials")]
    Credentials,
    /// The call names nobody, or a session that has ended.
    #[error("not signed in, or the session has ended")]
    NotSignedIn,
    /// The current password is another one.
    #[error("the current password is wrong")]
    WrongPassword,
    /// Another role may do this.
    #[error("{}", role_needed(*.0))]
    Role(Role),
    /// There is none of this id.
    #[error("there is no {0} of this id")]
    NotFound(&'static str),
    /// Somebody else has it.
    #[error("another user has this {0}")]
    Taken(&'static str),
    /// The id was used before, with other content.
    #[error("a user of this id exists with other content")]
    OtherContent,
    /// The token of a reset link is of no use.
    #[error(
        "this link is not valid: it was used, it has expired, or the password was changed since; ask for a new one"
    )]
    ResetLink,
    /// An inactive user gets no reset link.
    #[error("the user is inactive: reactivate the user first")]
    Inactive,
    /// A reset link would lead nowhere.
    #[error("passwords can't be reset here: AUTH_CONSOLE_URL is not set")]
    NoConsole,
    /// Nobody would be left to administrate.
    #[error("this is the last active admin: make another user an admin first")]
    LastAdmin,
    /// Too often.
    #[error("too many failed attempts: wait before the next")]
    TooOften(Duration),
    /// No signing key is known yet.
    #[error("this replica is not ready yet")]
    NotReady,
    /// No password could be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// No token could be signed.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A signing key could not be encrypted.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    /// In whole microseconds, as the store keeps times: what is answered is what is kept.
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    fn open_at(&self) -> OpenAt {
        OpenAt { now: self.now(), lifetimes: self.rules.lifetimes }
    }

    /// The person who calls, with the rights as they are now: a token may tell of rights that were taken away since.
    async fn signed_in(&self, caller: Option<&Caller>) -> Result<(Account, Uuid), AccountError> {
        let (user_id, session_id) = ids(caller).ok_or(AccountError::NotSignedIn)?;
        let account = self.store.signed_in(user_id, session_id, &self.open_at()).await?;
        Ok((account.ok_or(AccountError::NotSignedIn)?, session_id))
    }

    async fn admin(&self, caller: Option<&Caller>) -> Result<User, AccountError> {
        self.at_least(Role::Admin, caller).await
    }

    /// The caller, who has this role or one that may do more.
    async fn at_least(&self, least: Role, caller: Option<&Caller>) -> Result<User, AccountError> {
        let (Account { user, .. }, _) = self.signed_in(caller).await?;
        if user.role >= least { Ok(user) } else { Err(AccountError::Role(least)) }
    }

    /// The access token that goes with a session.
    fn grant(&self, user: &User, session: Session, refresh: SecretString) -> Result<Tokens, AccountError> {
        let signer = self.keys.signer().ok_or(AccountError::NotReady)?;
        let grant = Grant {
            issuer: &self.rules.issuer,
            user,
            session: session.id,
            id: self.clock.new_id(),
            now: self.now(),
            life: self.rules.token_life,
            session_expires_at: session.expires_at,
        };
        let (access, access_expires_at) = signer.sign(&grant)?;
        Ok(Tokens { access, access_expires_at, refresh, session })
    }

    fn letter(&self, message: Message) -> Letter {
        Letter { id: self.clock.new_id(), message, trace: TraceContext::current(), created_at: self.now() }
    }

    /// An entry for the logger: what happened to whom.
    fn entry(&self, user: &User, session: Option<Uuid>, what: &str) -> Letter {
        self.letter(self.log(user, session, what, false))
    }

    /// The same, for what somebody should look at.
    fn warning(&self, user: &User, session: Uuid, what: &str) -> Letter {
        self.letter(self.log(user, Some(session), what, true))
    }

    fn log(&self, user: &User, session: Option<Uuid>, what: &str, warning: bool) -> Message {
        let mut attributes = BTreeMap::from([("user.id".to_owned(), user.id.to_string())]);
        attributes.extend(session.map(|id| ("session.id".to_owned(), id.to_string())));
        Message::Log { time: self.now(), warning, data: format!("{} {what}", user.email), attributes }
    }

    /// Makes the first admin, unless somebody has the address or had it and was deleted. Several replicas may try at once.
    ///
    /// # Errors
    /// When the store can't be asked now.
    pub async fn ensure_first_user(&self, first: &FirstUser) -> Result<(), AccountError> {
        if self.store.account_by_email(first.email.as_str()).await?.is_some() {
            return Ok(());
        }
        if self.store.was_deleted(first.email.as_str()).await? {
            tracing::info!("the first user was deleted, and is not made again");
            return Ok(());
        }
        let now = self.now();
        let user = User {
            id: self.clock.new_id(),
            email: first.email.as_str().to_owned(),
            first_name: "Admin".to_owned(),
            last_name: String::new(),
            role: Role::Admin,
            active: true,
            created_at: now,
            updated_at: now,
        };
        let account = Account { user, password_hash: self.hasher.hash(&first.password).await? };
        if self.store.insert_account(&account, &[]).await? {
            tracing::info!(user.id = %account.user.id, "made the first user");
        }
        Ok(())
    }
}

fn role_needed(least: Role) -> &'static str {
    match least {
        Role::User | Role::Viewer => "this needs the role viewer or admin",
        Role::Admin => "this needs the role admin",
    }
}

fn ids(caller: Option<&Caller>) -> Option<(Uuid, Uuid)> {
    let caller = caller?;
    Some((caller.user.parse().ok()?, caller.session.parse().ok()?))
}
