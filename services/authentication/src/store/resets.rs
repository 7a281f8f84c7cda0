use jiff::Timestamp;
use uuid::Uuid;

use crate::limits::Rate;
use crate::outbox::Letter;
use crate::session::RefreshHash;

/// A request for a reset mail.
#[derive(Debug, Clone)]
pub struct ResetRequest {
    /// The limits that the request counts against, with their keys.
    pub limits: Vec<([u8; 32], Rate)>,
    /// The mail, and the audit record if there is one.
    pub letters: Vec<Letter>,
    pub now: Timestamp,
}

/// A new password, set with a reset token.
#[derive(Debug, Clone)]
pub struct PasswordReset {
    /// Hash of the token.
    pub token: RefreshHash,
    pub user_id: Uuid,
    pub new_hash: String,
    pub now: Timestamp,
}
