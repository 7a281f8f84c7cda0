//! The signed-in user on whose behalf a call is made, as gRPC metadata.
//!
//! Only the broker checks tokens. The services behind it trust this metadata, because only the services named in the Stack's
//! graph can call them.

use std::str::FromStr;

use tonic::metadata::{MetadataMap, MetadataValue};

const USER: &str = "weft-user-id";
const SESSION: &str = "weft-session-id";
const ROLE: &str = "weft-user-role";

/// What a user may do. Roles are ordered: each includes the permissions of those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Access to their own data.
    User,
    /// Reads logs, traces and the list of dead letters.
    Viewer,
    /// Access to everything.
    Admin,
}

/// The signed-in user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user's id, a UUID.
    pub user: String,
    /// The session's id, a UUID.
    pub session: String,
    /// The user's role.
    pub role: Role,
}

/// The caller's metadata is incomplete or has an invalid value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("metadata `{0}` is missing or invalid")]
pub struct CallerError(&'static str);

impl Role {
    /// The role in metadata, tokens and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Viewer => "viewer",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Role {
    type Err = CallerError;

    fn from_str(word: &str) -> Result<Self, CallerError> {
        match word {
            "user" => Ok(Self::User),
            "viewer" => Ok(Self::Viewer),
            "admin" => Ok(Self::Admin),
            _ => Err(CallerError(ROLE)),
        }
    }
}

impl Caller {
    /// Writes the caller into a call's metadata.
    ///
    /// # Errors
    /// When an id is not valid as a metadata value.
    pub fn to_metadata(&self, metadata: &mut MetadataMap) -> Result<(), CallerError> {
        let mut insert = |name: &'static str, value: &str| {
            let value = MetadataValue::from_str(value).map_err(|_| CallerError(name))?;
            metadata.insert(name, value);
            Ok(())
        };
        insert(USER, &self.user)?;
        insert(SESSION, &self.session)?;
        insert(ROLE, self.role.as_str())
    }

    /// Reads the caller from a call's metadata; `None` for an anonymous call.
    ///
    /// # Errors
    /// When the session or role is missing, or the role is unknown.
    pub fn from_metadata(metadata: &MetadataMap) -> Result<Option<Self>, CallerError> {
        let read = |name| metadata.get(name).and_then(|value| value.to_str().ok());
        let Some(user) = read(USER) else { return Ok(None) };
        let session = read(SESSION).ok_or(CallerError(SESSION))?;
        let role = read(ROLE).ok_or(CallerError(ROLE))?.parse()?;
        Ok(Some(Self { user: user.to_owned(), session: session.to_owned(), role }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_an_incomplete_caller() {
        let caller = Caller { user: "u".into(), session: "s".into(), role: Role::Admin };
        let mut metadata = MetadataMap::new();
        assert_eq!(Caller::from_metadata(&metadata), Ok(None));
        caller.to_metadata(&mut metadata).unwrap();
        assert_eq!(Caller::from_metadata(&metadata), Ok(Some(caller)));
        metadata.remove(ROLE);
        assert_eq!(Caller::from_metadata(&metadata), Err(CallerError(ROLE)));
        metadata.insert(ROLE, MetadataValue::from_static("root"));
        assert_eq!(Caller::from_metadata(&metadata), Err(CallerError(ROLE)));
    }

    #[test]
    fn roles_are_ordered_and_parse_their_own_names() {
        for role in [Role::User, Role::Viewer, Role::Admin] {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert!(Role::User < Role::Viewer && Role::Viewer < Role::Admin);
    }

    #[test]
    fn rejects_an_id_that_is_not_a_metadata_value() {
        let caller = Caller { user: "a\nb".into(), session: "s".into(), role: Role::User };
        assert_eq!(caller.to_metadata(&mut MetadataMap::new()), Err(CallerError(USER)));
    }
}
