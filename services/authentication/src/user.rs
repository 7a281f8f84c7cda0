//! People who may sign in.

use jiff::Timestamp;
use uuid::Uuid;
pub use weft_mesh::caller::Role;

/// A person, without the password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// A UUID.
    pub id: Uuid,
    /// In NFC; upper and lower case as they were given, and not told apart.
    pub email: String,
    /// Given name.
    pub first_name: String,
    /// Family name.
    pub last_name: String,
    /// What the person may do.
    pub role: Role,
    /// Whether the person may sign in.
    pub active: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// A person with the hash of the password.
#[derive(Clone)]
pub struct Account {
    /// The person.
    pub user: User,
    /// argon2id in PHC form, or the original's bcrypt.
    pub password_hash: String,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("user", &self.user).finish_non_exhaustive()
    }
}
