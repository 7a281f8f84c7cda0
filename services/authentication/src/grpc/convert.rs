//! Conversions between protobuf types and the domain's types.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::ExposeSecret as _;
use tonic::Status;
use uuid::Uuid;
use weft_proto::weft::auth::v1 as pb;
use weft_values::id;
use weft_values::time::to_proto;

use super::status::invalid;
use crate::accounts::Tokens;
use crate::invalid::Invalid;
use crate::session::Session;
use crate::user::{Role, User};

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1_000;
/// Longer than the cursor of any address.
const MAX_CURSOR_BYTES: usize = 1_024;

pub(super) fn user(user: User) -> pb::User {
    let User { id, email, first_name, last_name, role, active, created_at, updated_at } = user;
    let role = match role {
        Role::User => pb::Role::User,
        Role::Viewer => pb::Role::Viewer,
        Role::Admin => pb::Role::Admin,
    };
    pb::User {
        id: id.to_string(),
        email,
        first_name,
        last_name,
        active,
        role: role.into(),
        created_at: Some(to_proto(created_at)),
        updated_at: Some(to_proto(updated_at)),
    }
}

pub(super) fn session(session: Session, current: Uuid) -> pb::Session {
    let Session { id, user_id: _, created_at, last_used_at, expires_at, client_address, user_agent } =
        session;
    pb::Session {
        id: id.to_string(),
        created_at: Some(to_proto(created_at)),
        last_used_at: Some(to_proto(last_used_at)),
        expires_at: Some(to_proto(expires_at)),
        client_address,
        user_agent,
        current: id == current,
    }
}

pub(super) fn tokens(tokens: Tokens) -> pb::Tokens {
    let Tokens { access, access_expires_at, refresh, session } = tokens;
    pb::Tokens {
        access_token: access.expose_secret().to_owned(),
        access_expires_at: Some(to_proto(access_expires_at)),
        refresh_token: refresh.expose_secret().to_owned(),
        session_expires_at: Some(to_proto(session.expires_at)),
        session_id: session.id.to_string(),
    }
}

pub(super) fn id(field: &'static str, text: &str) -> Result<Uuid, Status> {
    id::parse(text).map_err(|error| invalid(Invalid { field, reason: error.reason() }))
}

pub(super) fn role(role: i32) -> Result<Role, Status> {
    match pb::Role::try_from(role) {
        Ok(pb::Role::Unspecified | pb::Role::User) => Ok(Role::User),
        Ok(pb::Role::Viewer) => Ok(Role::Viewer),
        Ok(pb::Role::Admin) => Ok(Role::Admin),
        Err(_) => Err(invalid(Invalid { field: "role", reason: "expected user, viewer or admin" })),
    }
}

/// Like [`role`], but without a default, for changes of a role.
pub(super) fn new_role(role: i32) -> Result<Role, Status> {
    match pb::Role::try_from(role) {
        Ok(pb::Role::Unspecified) => {
            Err(invalid(Invalid { field: "role", reason: "expected user, viewer or admin" }))
        }
        _ => self::role(role),
    }
}

pub(super) fn limit(limit: u32) -> Result<u32, Status> {
    match limit {
        0 => Ok(DEFAULT_LIMIT),
        1..=MAX_LIMIT => Ok(limit),
        _ => Err(invalid(Invalid { field: "limit", reason: "expected 1 to 1000" })),
    }
}

pub(super) fn to_cursor(email: &str) -> String {
    URL_SAFE_NO_PAD.encode(email)
}

pub(super) fn cursor(cursor: &str) -> Result<String, Status> {
    let bytes = (cursor.len() <= MAX_CURSOR_BYTES).then(|| URL_SAFE_NO_PAD.decode(cursor).ok()).flatten();
    let email = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|email| !email.contains('\0'));
    email.ok_or_else(|| {
        invalid(Invalid { field: "cursor", reason: "is invalid; expected next_cursor of the previous page" })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_round_trips_and_an_invalid_one_is_rejected() {
        assert_eq!(cursor(&to_cursor("иван@пример.рф")).unwrap(), "иван@пример.рф");
        assert_eq!(cursor("").unwrap(), "");
        for invalid in ["!", "_w", "AA", &"A".repeat(2_000)] {
            assert!(cursor(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn limits_and_roles_have_defaults_and_bounds() {
        assert_eq!((limit(0).unwrap(), limit(1_000).unwrap()), (100, 1_000));
        assert!(limit(1_001).is_err());
        assert_eq!(
            [0, 1, 2, 3].map(|number| role(number).unwrap()),
            [Role::User, Role::User, Role::Admin, Role::Viewer]
        );
        assert!(role(4).is_err());
    }
}
