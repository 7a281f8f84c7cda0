//! `authentication credentials grant` and `credentials retire`: create and drop a PostgreSQL user. The operator runs them as Jobs.

use weft_runtime::config::Settings;
use weft_runtime::credentials::{Change, ChangeError};

use crate::store::postgres::{StoreConfig, roles};

/// Applies one change. Idempotent.
///
/// # Errors
/// When a setting is invalid, or PostgreSQL is unreachable or refuses.
pub async fn change(settings: Settings, change: Change) -> Result<(), ChangeError> {
    let config = StoreConfig::from_settings(&settings)?;
    match change {
        Change::Grant { username, password } => roles::grant(&config, &username, &password).await?,
        Change::Retire { username } => roles::retire(&config, &username).await?,
    }
    Ok(())
}
