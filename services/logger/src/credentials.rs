//! Rotation of MongoDB's credentials: `logger credentials grant` and `logger credentials retire`, run by a Job.

use weft_runtime::config::Settings;
use weft_runtime::credentials::{Change, ChangeError};

use crate::config::StoreConfig;
use crate::store::mongo::users;

/// Grants or retires a user. Idempotent.
///
/// # Errors
/// When a setting is missing or invalid, or MongoDB is unreachable or refuses.
pub async fn change(settings: Settings, change: Change) -> Result<(), ChangeError> {
    let config = StoreConfig::from_settings(&settings)?;
    match change {
        Change::Grant { username, password } => users::grant(&config, &username, &password).await?,
        Change::Retire { username } => users::retire(&config, &username).await?,
    }
    Ok(())
}
