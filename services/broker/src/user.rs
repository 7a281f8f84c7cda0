//! Users, sessions and tokens, as authentication knows them and as the API shows them.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weft_proto::weft::auth::v1 as proto;

use crate::reply::ApiError;
use crate::upstream;

/// What a user may do.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", expecting = "user, viewer or admin")]
pub(crate) enum Role {
    /// Everything of their own.
    #[default]
    User,
    /// Reads logs, traces and dead letters without their bodies.
    Viewer,
    /// Everything.
    Admin,
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct User {
    #[schema(format = Uuid)]
    id: String,
    email: String,
    first_name: String,
    last_name: String,
    active: bool,
    role: Role,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

/// A session of the caller.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Session {
    #[schema(format = Uuid)]
    id: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    last_used_at: Timestamp,
    /// When it ends, whatever happens.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    client_address: String,
    user_agent: String,
    /// It is the one that asks.
    current: bool,
}

/// An access token.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccessToken {
    access_token: String,
    /// `Bearer`.
    #[schema(value_type = String)]
    token_type: &'static str,
    /// In seconds.
    #[schema(minimum = 0)]
    expires_in: u64,
}

/// Tokens, apart for the body and the cookie.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) access: AccessToken,
    pub(crate) refresh: String,
    pub(crate) session_life: Duration,
}

const SERVICE: &str = "authentication";

impl TryFrom<Option<proto::User>> for User {
    type Error = ApiError;

    fn try_from(user: Option<proto::User>) -> Result<Self, ApiError> {
        let user = user.ok_or_else(|| upstream::nonsense(SERVICE, "user"))?;
        let role = user.role().into();
        let proto::User { id, email, first_name, last_name, active, role: _, created_at, updated_at } = user;
        let (created_at, updated_at) = (time(created_at, "created_at")?, time(updated_at, "updated_at")?);
        Ok(Self { id, email, first_name, last_name, active, role, created_at, updated_at })
    }
}

impl TryFrom<proto::Session> for Session {
    type Error = ApiError;

    fn try_from(session: proto::Session) -> Result<Self, ApiError> {
        let proto::Session { id, created_at, last_used_at, expires_at, client_address, user_agent, current } =
            session;
        Ok(Self {
            id,
            created_at: time(created_at, "created_at")?,
            last_used_at: time(last_used_at, "last_used_at")?,
            expires_at: time(expires_at, "expires_at")?,
            client_address,
            user_agent,
            current,
        })
    }
}

impl Tokens {
    /// # Errors
    /// When authentication has left out what they need.
    pub(crate) fn read(tokens: Option<proto::Tokens>, now: Timestamp) -> Result<Self, ApiError> {
        let tokens = tokens.ok_or_else(|| upstream::nonsense(SERVICE, "tokens"))?;
        let left = |time: Timestamp| Duration::try_from(time.duration_since(now)).unwrap_or_default();
        let access_life = left(time(tokens.access_expires_at, "access_expires_at")?);
        Ok(Self {
            access: AccessToken {
                access_token: tokens.access_token,
                token_type: "Bearer",
                expires_in: access_life.as_secs(),
            },
            refresh: tokens.refresh_token,
            session_life: left(time(tokens.session_expires_at, "session_expires_at")?),
        })
    }
}

impl From<proto::Role> for Role {
    /// A role that this version does not know may do no more than a user.
    fn from(role: proto::Role) -> Self {
        match role {
            proto::Role::User | proto::Role::Unspecified => Self::User,
            proto::Role::Viewer => Self::Viewer,
            proto::Role::Admin => Self::Admin,
        }
    }
}

impl From<Role> for weft_mesh::caller::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::User => Self::User,
            Role::Viewer => Self::Viewer,
            Role::Admin => Self::Admin,
        }
    }
}

impl From<Role> for proto::Role {
    fn from(role: Role) -> Self {
        match role {
            Role::User => Self::User,
            Role::Viewer => Self::Viewer,
            Role::Admin => Self::Admin,
        }
    }
}

pub(crate) fn time(time: Option<prost_types::Timestamp>, field: &'static str) -> Result<Timestamp, ApiError> {
    time.and_then(|time| Timestamp::new(time.seconds, time.nanos).ok())
        .ok_or_else(|| upstream::nonsense(SERVICE, field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_that_lacks_a_time_is_502() {
        let user = proto::User { id: "x".into(), ..proto::User::default() };
        assert_eq!(User::try_from(Some(user)).unwrap_err().status.as_u16(), 502);
        assert_eq!(Tokens::read(None, Timestamp::UNIX_EPOCH).unwrap_err().status.as_u16(), 502);
    }

    #[test]
    fn what_has_run_out_has_no_time_left() {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let tokens =
            proto::Tokens { access_expires_at: at(5), session_expires_at: at(100), ..Default::default() };
        let tokens = Tokens::read(Some(tokens), Timestamp::from_second(10).unwrap()).unwrap();
        assert_eq!((tokens.access.expires_in, tokens.session_life.as_secs()), (0, 90));
    }
}
