use crate::user::{Role, User};

/// A change of a user. `None` leaves a field unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserChange {
    pub role: Option<Role>,
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub active: Option<bool>,
}

impl UserChange {
    /// The changed user; `updated_at` is not set.
    pub fn applied_to(&self, user: &User) -> User {
        let Self { role, first_name, last_name, active } = self.clone();
        User {
            role: role.unwrap_or(user.role),
            first_name: first_name.unwrap_or_else(|| user.first_name.clone()),
            last_name: last_name.unwrap_or_else(|| user.last_name.clone()),
            active: active.unwrap_or(user.active),
            ..user.clone()
        }
    }
}

/// The outcome of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// The change is in effect, perhaps since before. The user after the change, or before a deletion.
    Done(User),
    /// The user does not exist.
    NotFound,
    /// Refused: the user is the last active admin.
    LastAdmin,
}
