use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::types::time::OffsetDateTime;
use sqlx::{query, query_as};
use uuid::Uuid;

use super::PostgresStore;
use super::error::corrupt;
use super::rows::{from_db, to_db};
use crate::keys::Key;
use crate::store::{Due, SigningKeys, StoreError};

/// Whoever makes a key has this lock, so that replicas which start together make one.
const KEYS_LOCK: i64 = 0x7765_6674_6b65_7973;

struct KeyRow {
    id: Uuid,
    seed: Vec<u8>,
    created_at: OffsetDateTime,
    signs_from: OffsetDateTime,
    signs_until: OffsetDateTime,
    published_until: OffsetDateTime,
}

impl TryFrom<KeyRow> for Key {
    type Error = StoreError;

    fn try_from(row: KeyRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            seed: row.seed.try_into().map_err(|_| corrupt("a signing key of another length"))?,
            created_at: from_db(row.created_at),
            signs_from: from_db(row.signs_from),
            signs_until: from_db(row.signs_until),
            published_until: from_db(row.published_until),
        })
    }
}

#[async_trait]
impl SigningKeys for PostgresStore {
    async fn signing_keys(&self) -> Result<Vec<Key>, StoreError> {
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let rows = query_as!(KeyRow, "SELECT * FROM signing_keys ORDER BY signs_from");
                let rows = db.run("SELECT", "signing_keys", rows.fetch_all(&mut *connection)).await?;
                rows.into_iter().map(Key::try_from).collect()
            })
        })
        .await
    }

    async fn rotate_signing_keys(&self, now: Timestamp, due: Due) -> Result<Vec<Key>, StoreError> {
        self.bounded(move |db, connection| Box::pin(async move {
            let mut transaction = db.begin(connection).await?;
            let lock = query!("SELECT pg_advisory_xact_lock($1)", KEYS_LOCK);
            db.run("SELECT", "", lock.execute(&mut *transaction)).await?;
            let over = query!("DELETE FROM signing_keys WHERE published_until <= $1", to_db(now));
            db.run("DELETE", "signing_keys", over.execute(&mut *transaction)).await?;
            let rows = query_as!(KeyRow, "SELECT * FROM signing_keys ORDER BY signs_from");
            let rows = db.run("SELECT", "signing_keys", rows.fetch_all(&mut *transaction)).await?;
            let mut keys = rows.into_iter().map(Key::try_from).collect::<Result<Vec<_>, _>>()?;
            if let Some(key) = due(&keys) {
                let added = query!(
                    "INSERT INTO signing_keys (id, seed, created_at, signs_from, signs_until, published_until) \
                     VALUES ($1, $2, $3, $4, $5, $6)",
                    key.id,
                    key.seed.as_slice(),
                    to_db(key.created_at),
                    to_db(key.signs_from),
                    to_db(key.signs_until),
                    to_db(key.published_until),
                );
                db.run("INSERT", "signing_keys", added.execute(&mut *transaction)).await?;
                keys.push(key);
            }
            db.commit(transaction).await?;
            Ok(keys)
        }))
        .await
    }
}
