//! Creates and deletes MongoDB users.
//!
//! A new user gets the role `root`, like the image's first user. A smaller role would not protect anything: a user that may create
//! users with write access can grant any role to any user, including itself.

use mongodb::bson::{Document, doc};
use mongodb::options::ClientOptions;
use mongodb::{Client, Database};
use secrecy::{ExposeSecret as _, SecretString};

use super::error::{classify, code};
use super::options;
use crate::config::StoreConfig;
use crate::store::{Cause, StoreError};

/// The database of users, and the `authSource` in the operator's URIs.
const DATABASE: &str = "admin";
const USER_ALREADY_EXISTS: i32 = 51_003;
const USER_NOT_FOUND: i32 = 11;

/// Creates a user with the role of the current one, or sets the password of an existing user.
///
/// # Errors
/// When MongoDB is unreachable or refuses.
pub async fn grant(config: &StoreConfig, username: &str, password: &SecretString) -> Result<(), StoreError> {
    let database = admin(&parse(config).await?)?;
    match database.run_command(user("createUser", username, password)).await {
        Err(error) if code(&error) == Some(USER_ALREADY_EXISTS) => {
            database.run_command(user("updateUser", username, password)).await.map_err(classify)?;
        }
        done => drop(done.map_err(classify)?),
    }
    Ok(())
}

/// Deletes a user. Its open connections lose their permissions.
///
/// # Errors
/// When MongoDB is unreachable or refuses, or `username` is the current user.
pub async fn retire(config: &StoreConfig, username: &str) -> Result<(), StoreError> {
    let options = parse(config).await?;
    if options.credential.as_ref().and_then(|credential| credential.username.as_deref()) == Some(username) {
        return Err(StoreError::Failed(Cause::new(format!(
            "can't retire {username}: MONGODB_URI uses this user"
        ))));
    }
    match admin(&options)?.run_command(drop_user(username)).await {
        Err(error) if code(&error) == Some(USER_NOT_FOUND) => Ok(()),
        done => done.map(drop).map_err(classify),
    }
}

fn user(command: &str, username: &str, password: &SecretString) -> Document {
    doc! {
        command: username,
        "pwd": password.expose_secret(),
        "roles": [{ "role": "root", "db": DATABASE }],
        "writeConcern": { "w": "majority" },
    }
}

fn drop_user(username: &str) -> Document {
    doc! { "dropUser": username, "writeConcern": { "w": "majority" } }
}

async fn parse(config: &StoreConfig) -> Result<ClientOptions, StoreError> {
    options(config).await.map_err(classify)
}

fn admin(options: &ClientOptions) -> Result<Database, StoreError> {
    Ok(Client::with_options(options.clone()).map_err(classify)?.database(DATABASE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_are_values() {
        let hostile = "$where: '\"}, { role: \u{0}";
        let command = user("createUser", hostile, &hostile.to_owned().into());
        // The server takes the first key as the command.
        assert_eq!(command.keys().next().map(String::as_str), Some("createUser"));
        assert_eq!(command.get_str("createUser").unwrap(), hostile);
        assert_eq!(command.get_str("pwd").unwrap(), hostile);
        let roles = command.get_array("roles").unwrap();
        assert_eq!(roles.as_slice(), [doc! { "role": "root", "db": "admin" }.into()]);
        assert_eq!(user("updateUser", "a", &"b".to_owned().into()).keys().next().unwrap(), "updateUser");
        assert_eq!(drop_user(hostile).keys().next().map(String::as_str), Some("dropUser"));
        assert_eq!(drop_user(hostile).get_str("dropUser").unwrap(), hostile);
    }

    #[tokio::test]
    async fn refuses_to_retire_the_current_user() {
        let settings = weft_runtime::config::Fixed::new([(
            "MONGODB_URI",
            "mongodb://we%40ft:hunter2@127.0.0.1:1/?authSource=admin",
        )]);
        let settings = weft_runtime::config::Settings::new(settings);
        let config = StoreConfig::from_settings(&settings).unwrap();
        let error = weft_runtime::telemetry::chain(&retire(&config, "we@ft").await.unwrap_err());
        assert!(error.contains("can't retire we@ft") && !error.contains("hunter2"), "{error}");
    }
}
