//! The signed-in person on whose behalf a call is made, as metadata.
//!
//! The broker alone checks tokens; the services behind it trust what it says here, because only the services that the
//! Stack's graph names may call them.

use std::str::FromStr;

use tonic::metadata::{MetadataMap, MetadataValue};

const USER: &str = "weft-user-id";
const SESSION: &str = "weft-session-id";
const ROLE: &str = "weft-user-role";

/// What a person may do. Roles are ordered: each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Everything of their own.
    User,
    /// Reads logs, traces, and what is known about dead letters.
    Viewer,
    /// Everything.
    Admin,
}

/// Who is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user's id, a UUID.
    pub user: String,
    /// The session's id, a UUID.
    pub session: String,
    /// What they may do.
    pub role: Role,
}

/// Metadata that names a caller in part, or with a role that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the call's metadata {0} is missing or wrong")]
pub struct CallerError(&'static str);

impl Role {
    /// The word for it, in metadata, tokens and JSON.
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
    /// Writes it into a call's metadata.
    ///
    /// # Errors
    /// When an id is no text that metadata may hold.
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

    /// Reads it from a call's metadata: nothing when the call is on nobody's behalf.
    ///
    /// # Errors
    /// When only a part of it is there.
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
    fn a_caller_crosses_whole_or_not_at_all() {
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
    fn each_role_has_a_word_and_may_do_what_those_before_it_may() {
        for role in [Role::User, Role::Viewer, Role::Admin] {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert!(Role::User < Role::Viewer && Role::Viewer < Role::Admin);
    }

    #[test]
    fn an_id_that_is_no_header_text_is_refused() {
        let caller = Caller { user: "a\nb".into(), session: "s".into(), role: Role::User };
        assert_eq!(caller.to_metadata(&mut MetadataMap::new()), Err(CallerError(USER)));
    }
}
