//! Users, sessions and tokens: converts those of authentication to those of the API.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use weft_proto::weft::auth::v1 as proto;

use crate::reply::ApiError;
use crate::upstream;

/// The role of a user.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", expecting = "user, viewer or admin")]
pub(crate) enum Role {
    /// Manages their own account and sessions.
    #[default]
    User,
    /// Also reads logs, traces, and dead letters without bodies.
    Viewer,
    /// May do everything.
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
    /// When the session ends, even if it is used.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    client_address: String,
    user_agent: String,
    /// True for the session of this request.
    current: bool,
}

/// An access token.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccessToken {
    access_token: String,
    /// `Bearer`.
    #[schema(value_type = String)]
    token_type: &'static str,
    /// Seconds until the token expires.
    #[schema(minimum = 0)]
    expires_in: u64,
}

/// Tokens of a session: the access token goes into the body, the refresh token into the cookie.
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
        let user = user.ok_or_else(|| upstream::invalid_reply(SERVICE, "user"))?;
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
    /// Reads the tokens of a reply.
    ///
    /// # Errors
    /// 502 when a field is missing.
    pub(crate) fn read(tokens: Option<proto::Tokens>, now: Timestamp) -> Result<Self, ApiError> {
        let tokens = tokens.ok_or_else(|| upstream::invalid_reply(SERVICE, "tokens"))?;
        let until = |time: Timestamp| Duration::try_from(time.duration_since(now)).unwrap_or_default();
        let access_life = until(time(tokens.access_expires_at, "access_expires_at")?);
        Ok(Self {
            access: AccessToken {
                access_token: tokens.access_token,
                token_type: "Bearer",
                expires_in: access_life.as_secs(),
            },
            refresh: tokens.refresh_token,
            session_life: until(time(tokens.session_expires_at, "session_expires_at")?),
        })
    }
}

impl From<proto::Role> for Role {
    /// A role that this version does not know has the rights of a user.
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
        .ok_or_else(|| upstream::invalid_reply(SERVICE, field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_field_is_502() {
        let user = proto::User { id: "x".into(), ..proto::User::default() };
        assert_eq!(User::try_from(Some(user)).unwrap_err().status.as_u16(), 502);
        assert_eq!(Tokens::read(None, Timestamp::UNIX_EPOCH).unwrap_err().status.as_u16(), 502);
    }

    #[test]
    fn an_expired_token_expires_in_0_seconds() {
        let at = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let tokens =
            proto::Tokens { access_expires_at: at(5), session_expires_at: at(100), ..Default::default() };
        let tokens = Tokens::read(Some(tokens), Timestamp::from_second(10).unwrap()).unwrap();
        assert_eq!((tokens.access.expires_in, tokens.session_life.as_secs()), (0, 90));
    }
}
