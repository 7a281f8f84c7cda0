//! What authentication asks of a store. Each method is one transaction.
//!
//! # Cancellation
//! Every future may be dropped at any time: what has begun is then done whole or not at all.

mod changes;
mod failed;
pub mod postgres;
mod resets;

use jiff::Timestamp;
use uuid::Uuid;
pub use weft_runtime::store::{Cause, StoreError};

pub use changes::{Changed, UserChange};
pub use failed::{FailedLetter, FailedQuery};
pub use postgres::PostgresStore;
pub use resets::{PasswordReset, ResetAsk};

use crate::keys::Key;
use crate::outbox::Letter;
use crate::session::{Lifetimes, RefreshHash, Session};
use crate::user::User;

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

/// Writes the letters that go with a change, when it is known what has changed: whose sessions, and which.
pub type Compose = Box<dyn FnOnce(&User, &[Session]) -> Vec<Letter> + Send>;

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

/// The keys as they have to be, from those that there are.
pub type ChangeKeys = Box<dyn FnOnce(Vec<Key>) -> Vec<Key> + Send>;
