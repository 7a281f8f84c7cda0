//! Conversions between rows and the domain's types.

use jiff::Timestamp;
use sqlx::types::Uuid;
use sqlx::types::time::OffsetDateTime;

use super::error::corrupt;
use crate::session::Session;
use crate::store::StoreError;
use crate::user::{Account, User};

pub(super) fn to_db(time: Timestamp) -> OffsetDateTime {
    // Both types hold the years -9999 to 9999.
    OffsetDateTime::from_unix_timestamp_nanos(time.as_nanosecond()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

pub(super) fn from_db(time: OffsetDateTime) -> Timestamp {
    Timestamp::from_nanosecond(time.unix_timestamp_nanos()).unwrap_or(Timestamp::UNIX_EPOCH)
}

pub(super) struct AccountRow {
    pub(super) id: Uuid,
    pub(super) email: String,
    pub(super) first_name: String,
    pub(super) last_name: String,
    pub(super) password_hash: String,
    pub(super) role: String,
    pub(super) active: bool,
    pub(super) created_at: OffsetDateTime,
    pub(super) updated_at: OffsetDateTime,
}

impl TryFrom<AccountRow> for Account {
    type Error = StoreError;

    fn try_from(row: AccountRow) -> Result<Self, StoreError> {
        Ok(Self {
            user: User {
                id: row.id,
                email: row.email,
                first_name: row.first_name,
                last_name: row.last_name,
                role: row.role.parse().map_err(corrupt)?,
                active: row.active,
                created_at: from_db(row.created_at),
                updated_at: from_db(row.updated_at),
            },
            password_hash: row.password_hash,
        })
    }
}

pub(super) struct SessionRow {
    pub(super) id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) created_at: OffsetDateTime,
    pub(super) last_used_at: OffsetDateTime,
    pub(super) expires_at: OffsetDateTime,
    pub(super) client_address: String,
    pub(super) user_agent: String,
}

impl From<SessionRow> for Session {
    fn from(row: SessionRow) -> Self {
        Self {
            id: row.id,
            user_id: row.user_id,
            created_at: from_db(row.created_at),
            last_used_at: from_db(row.last_used_at),
            expires_at: from_db(row.expires_at),
            client_address: row.client_address,
            user_agent: row.user_agent,
        }
    }
}
