use jiff::Timestamp;
use uuid::Uuid;

use crate::limits::Rate;
use crate::outbox::Letter;
use crate::session::RefreshHash;

/// A request for a reset mail.
#[derive(Debug, Clone)]
pub struct ResetAsk {
    /// What is counted, under which key.
    pub limits: Vec<([u8; 32], Rate)>,
    /// The mail to be.
    pub letter: Letter,
    /// The present moment.
    pub now: Timestamp,
}

/// A new password, by a token.
#[derive(Debug, Clone)]
pub struct PasswordReset {
    /// The token.
    pub token: RefreshHash,
    /// Whose it is.
    pub user_id: Uuid,
    /// The hash of the new password.
    pub new_hash: String,
    /// The present moment.
    pub now: Timestamp,
}
