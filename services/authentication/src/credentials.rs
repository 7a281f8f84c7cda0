//! New credentials of PostgreSQL: `authentication credentials grant` and `credentials retire`, as a Job runs them.

use weft_runtime::config::{ConfigError, Settings};
use weft_runtime::credentials::Change;

use crate::config::StoreConfig;
use crate::store::StoreError;
use crate::store::postgres::roles;

/// Why the users of PostgreSQL could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// PostgreSQL did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Does it, once.
///
/// # Errors
/// When a setting is wrong, or PostgreSQL can't be reached or refuses. It may be repeated.
pub async fn change(settings: Settings, change: Change) -> Result<(), CredentialsError> {
    let config = StoreConfig::from_settings(&settings)?;
    match change {
        Change::Grant { username, password } => roles::grant(&config, &username, &password).await?,
        Change::Retire { username } => roles::retire(&config, &username).await?,
    }
    Ok(())
}
