//! The operations of authentication, without gRPC and SQL.

mod attempt;
mod changes;
mod mails;
mod outbox;
mod passwords;
mod refresh;
mod resets;
mod sign_in;
mod sign_out;
mod signing_keys;
mod users;

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
pub use sign_in::SignIn;
pub use sign_out::SignOut;
pub use users::NewUser;

use crate::config::FirstUser;
use crate::invalid::Invalid;
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

/// The operations. Clones share all state.
#[derive(Clone)]
pub struct Accounts {
    pub store: Arc<PostgresStore>,
    pub hasher: Hasher,
    pub keys: KeyRing,
    pub clock: Arc<dyn Clock>,
    /// Source of tokens.
    pub random: Arc<dyn Random>,
    pub metrics: Metrics,
    /// Wakes the relays when the outbox has new letters.
    pub wake: Wake,
    pub rules: Rules,
    /// Queue of password attempts that wait for undecided ones.
    pub turns: Turns,
    /// Allowance of mails for each user and hour; `None`: unlimited.
    pub mails: Option<Arc<Allowance>>,
}

/// The settings that the operations need.
#[derive(Debug, Clone)]
pub struct Rules {
    /// `iss` of access tokens.
    pub issuer: String,
    pub token_life: Duration,
    pub lifetimes: Lifetimes,
    /// Limit of failed sign-ins for each address, and of failed password changes for each user; `None`: unlimited.
    pub sign_in_rate: Option<Rate>,
    /// Public URL of the console.
    pub console: Option<String>,
}

/// The result of a sign-in or a refresh.
#[derive(Debug)]
pub struct Tokens {
    /// The access token.
    pub access: SecretString,
    pub access_expires_at: Timestamp,
    /// The refresh token, which is exchanged for the next pair.
    pub refresh: SecretString,
    pub session: Session,
}

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// Unknown user, wrong password, or inactive user. The caller must not learn which.
    #[error("invalid credentials")]
    Credentials,
    /// The call has no caller, or the caller's session has ended.
    #[error("not signed in, or the session has ended")]
    NotSignedIn,
    #[error("the current password is wrong")]
    WrongPassword,
    /// The caller's role is not sufficient; the least role that is.
    #[error("{}", role_needed(*.0))]
    Role(Role),
    #[error("{0} not found")]
    NotFound(&'static str),
    #[error("another user has this {0}")]
    Taken(&'static str),
    #[error("the user with this id was created with other content")]
    OtherContent,
    /// The id of a deleted user is not used again.
    #[error("the user with this id was deleted")]
    Deleted,
    /// The token of a reset link is unknown, used or expired.
    #[error(
        "invalid reset link: it was used, it has expired, or the password was changed since; request a new one"
    )]
    ResetLink,
    /// Inactive users get no reset link.
    #[error("the user is inactive; reactivate the user first")]
    Inactive,
    /// Without the console's URL there is nothing that a reset link could point to.
    #[error("password resets are unavailable: AUTH_CONSOLE_URL is not set")]
    NoConsole,
    /// The last active admin must keep the role.
    #[error("this is the last active admin; make another user an admin first")]
    LastAdmin,
    /// Too many attempts; how long to wait.
    #[error("too many attempts; try again after the time in Retry-After")]
    TooOften(Duration),
    /// No signing key is loaded yet.
    #[error("this replica is not ready yet")]
    NotReady,
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Accounts {
    /// The time in whole microseconds, PostgreSQL's resolution, so that responses have the stored value.
    fn now(&self) -> Timestamp {
        let now = self.clock.now();
        Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
    }

    fn open_at(&self) -> OpenAt {
        OpenAt { now: self.now(), lifetimes: self.rules.lifetimes }
    }

    /// The caller's account, read from the store: the role in the access token may be outdated.
    async fn signed_in(&self, caller: Option<&Caller>) -> Result<(Account, Uuid), AccountError> {
        let (user_id, session_id) = ids(caller).ok_or(AccountError::NotSignedIn)?;
        let account = self.store.signed_in(user_id, session_id, &self.open_at()).await?;
        Ok((account.ok_or(AccountError::NotSignedIn)?, session_id))
    }

    async fn admin(&self, caller: Option<&Caller>) -> Result<User, AccountError> {
        self.at_least(Role::Admin, caller).await
    }

    /// The caller, if the caller has this role or a higher one.
    async fn at_least(&self, least: Role, caller: Option<&Caller>) -> Result<User, AccountError> {
        let (Account { user, .. }, _) = self.signed_in(caller).await?;
        if user.role >= least { Ok(user) } else { Err(AccountError::Role(least)) }
    }

    /// Signs the access token of a session.
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

    /// A log entry about a user.
    fn entry(&self, user: &User, session: Option<Uuid>, what: &str) -> Letter {
        self.letter(self.log(user, session, what, false))
    }

    /// A log entry about a user, of level warning.
    fn warning(&self, user: &User, session: Uuid, what: &str) -> Letter {
        self.letter(self.log(user, Some(session), what, true))
    }

    fn log(&self, user: &User, session: Option<Uuid>, what: &str, warning: bool) -> Message {
        let mut attributes = BTreeMap::from([("user.id".to_owned(), user.id.to_string())]);
        attributes.extend(session.map(|id| ("session.id".to_owned(), id.to_string())));
        Message::Log { time: self.now(), warning, data: format!("{} {what}", user.email), attributes }
    }

    /// Creates the first admin, unless a user has the address or a user with the address was deleted. Safe to call in several
    /// replicas at once.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn ensure_first_user(&self, first: &FirstUser) -> Result<(), AccountError> {
        if self.store.account_by_email(first.email.as_str()).await?.is_some() {
            return Ok(());
        }
        if self.store.was_deleted(first.email.as_str()).await? {
            tracing::info!("the first user was deleted before; not created again");
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
            tracing::info!(user.id = %account.user.id, "created the first user");
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
