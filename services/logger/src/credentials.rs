//! New credentials of MongoDB: `logger credentials grant` and `credentials retire`, as a Job runs them.

use weft_runtime::config::{ConfigError, Settings};
use weft_runtime::credentials::Change;

use crate::config::StoreConfig;
use crate::store::StoreError;
use crate::store::mongo::users;

/// Why the users of MongoDB could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// MongoDB did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Does it, once.
///
/// # Errors
/// When a setting is wrong, or MongoDB can't be reached or refuses. It may be repeated.
pub async fn change(settings: Settings, change: Change) -> Result<(), CredentialsError> {
    let config = StoreConfig::from_settings(&settings)?;
    match change {
        Change::Grant { username, password } => users::grant(&config, &username, &password).await?,
        Change::Retire { username } => users::retire(&config, &username).await?,
    }
    Ok(())
}
