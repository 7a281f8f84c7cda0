//! The store. Each method is one transaction.
//!
//! # Cancellation
//! Every future may be dropped at any time. A transaction that has begun is then completed or has no effect.

mod changes;
mod failed;
mod keys;
pub mod postgres;
mod resets;

use jiff::Timestamp;
use uuid::Uuid;
pub use weft_runtime::store::{Cause, StoreError};

pub use changes::{Changed, UserChange};
pub use failed::{FailedLetter, FailedQuery};
pub use keys::{Key, Private};
pub use postgres::PostgresStore;
pub use resets::{PasswordReset, ResetRequest};

use crate::outbox::Letter;
use crate::session::{Lifetimes, RefreshHash, Session};
use crate::user::{Account, User};

/// The store's name on `/status` and `/readyz`.
pub const STORE: &str = "postgres";

/// Cut-off times of a purge.
#[derive(Debug, Clone, Copy)]
pub struct Cutoffs {
    /// The current time: limits that are fully replenished by then are deleted.
    pub now: Timestamp,
    /// Failures before this time are deleted.
    pub failures_before: Timestamp,
    /// Sessions whose absolute end was before this time are deleted.
    pub sessions_before: Timestamp,
}

/// Composes the letters of a change once the affected user and sessions are known.
pub type Compose = Box<dyn FnOnce(&User, &[Session]) -> Vec<Letter> + Send>;

/// A change of a password by its user.
#[derive(Debug, Clone)]
pub struct PasswordChange {
    pub user_id: Uuid,
    /// The session that stays open.
    pub session_id: Uuid,
    /// The hash that the current password was checked against.
    pub old_hash: String,
    pub new_hash: String,
    pub now: Timestamp,
}

/// Which sessions of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    One { user_id: Uuid, session_id: Uuid },
    All { user_id: Uuid },
}

/// The time and lifetimes that decide whether a session is open.
#[derive(Debug, Clone, Copy)]
pub struct OpenAt {
    pub now: Timestamp,
    pub lifetimes: Lifetimes,
}

/// A session to open.
#[derive(Debug, Clone)]
pub struct Opening {
    pub session: Session,
    /// Hash of the first refresh token.
    pub refresh: RefreshHash,
    /// The hash that the password was checked against.
    pub checked_hash: String,
    /// Replaces the checked hash.
    pub renewed_hash: Option<String>,
    /// Key of the failures to delete.
    pub failures: [u8; 32],
    pub letter: Letter,
}

/// The outcome of opening a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    Done,
    /// The user has changed since the password was checked. Check again.
    Stale,
}

/// What became of the creation of a user.
#[derive(Debug, Clone)]
pub enum Creation {
    /// There was none with this id.
    Unknown,
    /// The account as it was created, whatever was changed since.
    Of(Account),
    /// The user was deleted.
    Deleted,
}

/// The outcome of a refresh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotated {
    /// The next token was issued.
    Next(Box<(User, Session)>),
    /// The token is unknown, or its session has ended.
    Refused,
    /// The token is a replay; the session was ended.
    Replay,
}

/// Computes the new list of keys from the stored one.
pub type ChangeKeys = Box<dyn FnOnce(Vec<Key>) -> Vec<Key> + Send>;
