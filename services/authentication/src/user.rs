//! Users.

use jiff::Timestamp;
use uuid::Uuid;
pub use weft_mesh::caller::Role;

/// A user, without the password hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: Uuid,
    /// In NFC. Case is preserved, and ignored in comparisons.
    pub email: String,
    pub first_name: String,
    pub last_name: String,
    pub role: Role,
    /// Whether the user may sign in.
    pub active: bool,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl User {
    /// What a new password must not be made of.
    pub fn known(&self) -> [&str; 3] {
        [&self.email, &self.first_name, &self.last_name]
    }
}

/// A user with the password hash.
#[derive(Clone)]
pub struct Account {
    pub user: User,
    /// argon2id in PHC format, or bcrypt of the Go original.
    pub password_hash: String,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("user", &self.user).finish_non_exhaustive()
    }
}
