//! New credentials of PostgreSQL: `authentication credentials grant` and `credentials retire`, as a Job runs them.

use weft_runtime::config::Settings;
use weft_runtime::credentials::{Change, ChangeError};

use crate::config::StoreConfig;
use crate::store::postgres::roles;

/// Does it, once.
///
/// # Errors
/// When a setting is wrong, or PostgreSQL can't be reached or refuses. It may be repeated.
pub async fn change(settings: Settings, change: Change) -> Result<(), ChangeError> {
    let config = StoreConfig::from_settings(&settings)?;
    match change {
        Change::Grant { username, password } => roles::grant(&config, &username, &password).await?,
        Change::Retire { username } => roles::retire(&config, &username).await?,
    }
    Ok(())
}
