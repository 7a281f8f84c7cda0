use sqlx::types::time::OffsetDateTime;
use sqlx::{PgConnection, query, query_as};
use uuid::Uuid;

use super::PostgresStore;
use super::error::corrupt;
use super::rows::{from_db, to_db};
use super::unit::Statements;
use crate::outbox::Letter;
use crate::store::{ChangeKeys, Key, Private, StoreError};

/// Advisory lock of changes to the keys, so that replicas that start together create only one.
const KEYS_LOCK: i64 = 0x7765_6674_6b65_7973;

struct KeyRow {
    id: Uuid,
    seed: Option<Vec<u8>>,
    sealed: Option<Vec<u8>>,
    clear_until: OffsetDateTime,
    created_at: OffsetDateTime,
    signs_from: OffsetDateTime,
    signs_until: OffsetDateTime,
    published_until: OffsetDateTime,
}

impl TryFrom<KeyRow> for Key {
    type Error = StoreError;

    fn try_from(row: KeyRow) -> Result<Self, StoreError> {
        let private = match (row.seed, row.sealed) {
            (None, Some(sealed)) => Private::Sealed(sealed),
            (Some(seed), None) => Private::Clear {
                seed: seed
                    .try_into()
                    .map_err(|_| corrupt("invalid signing key: the private key does not have 32 bytes"))?,
                until: from_db(row.clear_until),
            },
            _ => return Err(corrupt("invalid signing key: expected exactly one of seed and sealed")),
        };
        Ok(Self {
            id: row.id,
            private,
            created_at: from_db(row.created_at),
            signs_from: from_db(row.signs_from),
            signs_until: from_db(row.signs_until),
            published_until: from_db(row.published_until),
        })
    }
}

impl Statements {
    async fn keys(&self, connection: &mut PgConnection) -> Result<Vec<Key>, StoreError> {
        let rows = query_as!(
            KeyRow,
            "SELECT id, seed, sealed, clear_until, created_at, signs_from, signs_until, published_until \
             FROM signing_keys ORDER BY signs_from"
        );
        let rows = self.run("SELECT", "signing_keys", rows.fetch_all(connection)).await?;
        rows.into_iter().map(Key::try_from).collect()
    }

    async fn put_key(&self, connection: &mut PgConnection, key: &Key) -> Result<(), StoreError> {
        let (seed, sealed) = match &key.private {
            Private::Clear { seed, .. } => (Some(seed.as_slice()), None),
            Private::Sealed(sealed) => (None, Some(sealed.as_slice())),
        };
        let put = query!(
            "INSERT INTO signing_keys (id, seed, sealed, created_at, signs_from, signs_until, published_until) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (id) DO UPDATE SET seed = $2, sealed = $3, signs_until = $6, published_until = $7",
            key.id,
            seed,
            sealed,
            to_db(key.created_at),
            to_db(key.signs_from),
            to_db(key.signs_until),
            to_db(key.published_until),
        );
        self.run("INSERT", "signing_keys", put.execute(connection)).await.map(drop)
    }
}

impl PostgresStore {
    /// All signing keys.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn signing_keys(&self) -> Result<Vec<Key>, StoreError> {
        self.bounded(move |db, connection| Box::pin(async move { db.keys(connection).await })).await
    }

    /// Changes the list of keys, writes the letters, and returns the new list. Only one replica at a time can do this.
    ///
    /// # Errors
    /// When the store is unavailable.
    pub async fn change_signing_keys(
        &self,
        change: ChangeKeys,
        letters: &[Letter],
    ) -> Result<Vec<Key>, StoreError> {
        let letters = letters.to_vec();
        self.bounded(move |db, connection| {
            Box::pin(async move {
                let mut transaction = db.begin(connection).await?;
                let lock = query!("SELECT pg_advisory_xact_lock($1)", KEYS_LOCK);
                db.run("SELECT", "", lock.execute(&mut *transaction)).await?;
                let before = db.keys(&mut transaction).await?;
                let after = change(before.clone());
                let kept: Vec<Uuid> = after.iter().map(|key| key.id).collect();
                let dropped = query!("DELETE FROM signing_keys WHERE id <> ALL ($1)", &kept);
                db.run("DELETE", "signing_keys", dropped.execute(&mut *transaction)).await?;
                for key in after.iter().filter(|key| !before.contains(key)) {
                    db.put_key(&mut transaction, key).await?;
                }
                db.post(&mut transaction, &letters).await?;
                db.commit(transaction).await?;
                Ok(after)
            })
        })
        .await
    }
}
