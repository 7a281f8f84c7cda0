use crate::user::{Role, User};

/// What to change about a person. `None` leaves it as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserChange {
    /// What the person may do.
    pub role: Option<Role>,
    /// Given name.
    pub first_name: Option<String>,
    /// Family name.
    pub last_name: Option<String>,
    /// Whether the person may sign in.
    pub active: Option<bool>,
}

impl UserChange {
    /// The person with the change; the time of the change is not set.
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

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// It is done, now or since before: the person as they are, or were when they were deleted.
    Done(User),
    /// There is no such person.
    Unknown,
    /// The person is the last active admin, who must stay.
    LastAdmin,
}
