//! What authentication asks of a store. Each method is one transaction.
//!
//! # Cancellation
//! Every future may be dropped at any time: what has begun is then done whole or not at all.

mod failed;
pub mod postgres;

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;
pub use weft_runtime::store::{Cause, StoreError};

pub use failed::{FailedLetter, FailedLetters, FailedQuery};

use crate::keys::Key;
use crate::limits::{Failures, Rate};
use crate::outbox::{Backlog, Claimed, Letter, Recipient};
use crate::session::{Lifetimes, RefreshHash, Session, Worth};
use crate::user::{Account, User};

/// Everything.
pub trait Store: Schema + Limits + Users + Sessions + SigningKeys + Outbox + FailedLetters {}

impl<T: Schema + Limits + Users + Sessions + SigningKeys + Outbox + FailedLetters> Store for T {}

/// The store itself.
#[async_trait]
pub trait Schema: Send + Sync + 'static {
    /// Asks for the store's version.
    ///
    /// # Errors
    /// When it can't be reached, or refuses our credentials.
    async fn check(&self) -> Result<String, StoreError>;

    /// Brings the schema to what this version wants. May run in several replicas at once.
    ///
    /// # Errors
    /// When it can't be done now; it may be repeated.
    async fn migrate(&self) -> Result<(), StoreError>;

    /// Deletes what no longer matters.
    ///
    /// # Errors
    /// When it can't be done now; it may be repeated.
    async fn purge(&self, over: &Over) -> Result<(), StoreError>;
}

/// What no longer matters.
#[derive(Debug, Clone, Copy)]
pub struct Over {
    /// The present moment: addresses that have their whole allowance back.
    pub now: Timestamp,
    /// Failures before this.
    pub failures_before: Timestamp,
    /// Sessions whose absolute end was before this.
    pub sessions_before: Timestamp,
}

/// How often passwords are tried.
#[async_trait]
pub trait Limits: Send + Sync + 'static {
    /// Takes one try of an address's allowance, or says how long until there is one; and finds the failures under this key.
    /// Should the store lose power, the last second's tries may not have been counted.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn take_try(
        &self,
        address: &str,
        key: &[u8; 32],
        rate: Rate,
        now: Timestamp,
    ) -> Result<Try, StoreError>;

    /// Failures under this key.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn failures(&self, key: &[u8; 32]) -> Result<Option<Failures>, StoreError>;

    /// Counts one more.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn add_failure(&self, key: &[u8; 32], now: Timestamp) -> Result<(), StoreError>;
}

/// Whether a password may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Try {
    /// It may, as far as the address goes; these are the failures.
    Taken(Option<Failures>),
    /// Not before this has passed.
    Wait(Duration),
}

/// People.
#[async_trait]
pub trait Users: Send + Sync + 'static {
    /// The person with this address, which is in NFC; upper and lower case are not told apart.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn account_by_email(&self, email: &str) -> Result<Option<Account>, StoreError>;

    /// The person with this id.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn account_by_id(&self, id: Uuid) -> Result<Option<Account>, StoreError>;

    /// Adds a person, unless somebody has the id or the address. Returns whether it did.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn insert_account(&self, account: &Account, letters: &[Letter]) -> Result<bool, StoreError>;

    /// Refuses a person from now on and ends all sessions.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn deactivate(
        &self,
        id: Uuid,
        now: Timestamp,
        letters: Compose,
    ) -> Result<Deactivation, StoreError>;

    /// So many people in the order of their addresses, from the first after this one.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn users_after(&self, email: &str, limit: u32) -> Result<Vec<User>, StoreError>;

    /// Changes a password, if the hash is still this one, and ends the other sessions. Returns whether it did.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn change_password(&self, change: &PasswordChange, letters: &[Letter]) -> Result<bool, StoreError>;
}

/// Writes the letters that go with a change, when it is known what has changed: whose sessions, and which.
pub type Compose = Box<dyn FnOnce(&User, &[Session]) -> Vec<Letter> + Send>;

/// What became of a deactivation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deactivation {
    /// The person is inactive, now or since before.
    Done(User),
    /// There is no such person.
    Unknown,
    /// Nobody else could administrate.
    LastAdmin,
}

/// A new password.
#[derive(Debug, Clone)]
pub struct PasswordChange {
    /// Whose.
    pub user_id: Uuid,
    /// The session that goes on.
    pub session_id: Uuid,
    /// The hash that was checked.
    pub old_hash: String,
    /// The new one.
    pub new_hash: String,
    /// The present moment.
    pub now: Timestamp,
}

/// Sessions.
#[async_trait]
pub trait Sessions: Send + Sync + 'static {
    /// Opens a session for a person whose password was right.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn open_session(&self, opening: &Opening) -> Result<Opened, StoreError>;

    /// A person with one of their sessions, if that is open and the person active.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn signed_in(
        &self,
        user_id: Uuid,
        session_id: Uuid,
        open: &OpenAt,
    ) -> Result<Option<Account>, StoreError>;

    /// Uses a refresh token and issues the next one. A replay ends the session.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn rotate(
        &self,
        presented: &RefreshHash,
        next: &RefreshHash,
        open: &OpenAt,
        on_replay: Compose,
    ) -> Result<Rotated, StoreError>;

    /// Ends the session of a refresh token that [`Sessions::rotate`] would accept, and that of a replay. Returns what the token was
    /// worth; `None` when it is unknown.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn end_by_token(
        &self,
        presented: &RefreshHash,
        open: &OpenAt,
        on_end: Compose,
        on_replay: Compose,
    ) -> Result<Option<Worth>, StoreError>;

    /// A person's open sessions, newest first.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn open_sessions(&self, user_id: Uuid, open: &OpenAt) -> Result<Vec<Session>, StoreError>;

    /// Ends sessions, writes the letters if one of them was open, and returns those that were.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn end_sessions(
        &self,
        which: Which,
        open: &OpenAt,
        letters: Compose,
    ) -> Result<Vec<Session>, StoreError>;

    /// Whether a person has, or had, this session.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn has_session(&self, user_id: Uuid, session_id: Uuid) -> Result<bool, StoreError>;
}

/// Which sessions of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// This one.
    One {
        /// Whose.
        user_id: Uuid,
        /// Which.
        session_id: Uuid,
    },
    /// All.
    All {
        /// Whose.
        user_id: Uuid,
    },
}

/// What it takes for a session to be open.
#[derive(Debug, Clone, Copy)]
pub struct OpenAt {
    /// The present moment.
    pub now: Timestamp,
    /// How long sessions last.
    pub lifetimes: Lifetimes,
}

/// A session to be opened.
#[derive(Debug, Clone)]
pub struct Opening {
    /// The session.
    pub session: Session,
    /// Its first refresh token.
    pub refresh: RefreshHash,
    /// The hash that the password was checked against.
    pub checked_hash: String,
    /// What takes its place.
    pub renewed_hash: Option<String>,
    /// Failures that are forgiven.
    pub failures: [u8; 32],
    /// Whom to tell.
    pub letter: Letter,
}

/// What became of an opening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// It is open.
    Done,
    /// The person has changed since the password was checked: look again.
    Stale,
}

/// What became of a refresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotated {
    /// The next token is good.
    Next(Box<(User, Session)>),
    /// There is no such token, or its session has ended.
    Refused,
    /// The token is a replay, so its session was ended.
    Replay,
}

/// Signing keys.
#[async_trait]
pub trait SigningKeys: Send + Sync + 'static {
    /// All of them.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn signing_keys(&self) -> Result<Vec<Key>, StoreError>;

    /// Changes the list of keys, and writes the letters with it. Returns what is there then. One replica at a time.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn change_signing_keys(
        &self,
        change: ChangeKeys,
        letters: &[Letter],
    ) -> Result<Vec<Key>, StoreError>;
}

/// The keys as they have to be, from those that there are.
pub type ChangeKeys = Box<dyn FnOnce(Vec<Key>) -> Vec<Key> + Send>;

/// Letters on their way.
#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// Takes letters that are due, for this long: nobody else gets them until then.
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn claim(
        &self,
        recipient: Recipient,
        most: usize,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<Claimed>, StoreError>;

    /// Forgets letters that have arrived.
    ///
    /// # Errors
    /// When the store can't be asked now; the letters are then delivered again.
    async fn delivered(&self, ids: &[Uuid]) -> Result<(), StoreError>;

    /// Leases a letter, whose delivery takes longer, until this moment.
    ///
    /// # Errors
    /// When the store can't be asked now; the letter is then due when its lease ends.
    async fn renew(&self, id: Uuid, until: Timestamp) -> Result<(), StoreError>;

    /// Gives a letter back until this moment. `unknowns`: how many of its attempts ended with an unknown outcome.
    ///
    /// # Errors
    /// When the store can't be asked now; the letter is then due when its lease ends.
    async fn postpone(
        &self,
        id: Uuid,
        due_at: Timestamp,
        unknowns: u32,
        reason: &str,
    ) -> Result<(), StoreError>;

    /// Keeps a letter that can never arrive, with the reason.
    ///
    /// # Errors
    /// When the store can't be asked now; the letter is then tried again.
    async fn give_up(&self, id: Uuid, now: Timestamp, reason: &str) -> Result<(), StoreError>;

    /// What there is for a recipient, counted as far as [`Backlog::COUNTED`].
    ///
    /// # Errors
    /// When the store can't be asked now.
    async fn backlog(&self, recipient: Recipient) -> Result<Backlog, StoreError>;
}
