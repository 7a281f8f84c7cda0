//! Who may sign in to MongoDB itself.
//!
//! A new user gets the role that the image gives the first one. Less would be no protection: who makes users that may write
//! entries may give any role to anybody, and to itself.

use mongodb::bson::{Document, doc};
use mongodb::options::ClientOptions;
use mongodb::{Client, Database};
use secrecy::{ExposeSecret as _, SecretString};

use super::error::{classify, code};
use super::options;
use crate::config::StoreConfig;
use crate::store::{Cause, StoreError};

/// Where users live, and the `authSource` of the operator's URIs.
const DATABASE: &str = "admin";
const ALREADY_THERE: i32 = 51_003;
const NOT_THERE: i32 = 11;

/// Makes a user who may do what we may, or gives the one that is there this password.
///
/// # Errors
/// When MongoDB can't be reached or refuses.
pub async fn grant(config: &StoreConfig, username: &str, password: &SecretString) -> Result<(), StoreError> {
    let database = admin(&parse(config).await?)?;
    match database.run_command(user("createUser", username, password)).await {
        Err(error) if code(&error) == Some(ALREADY_THERE) => {
            database.run_command(user("updateUser", username, password)).await.map_err(classify)?;
        }
        done => drop(done.map_err(classify)?),
    }
    Ok(())
}

/// Takes a user away. A connection that it still has may do nothing more.
///
/// # Errors
/// When MongoDB can't be reached or refuses, or it is the user that we are.
pub async fn retire(config: &StoreConfig, username: &str) -> Result<(), StoreError> {
    let options = parse(config).await?;
    if options.credential.as_ref().and_then(|credential| credential.username.as_deref()) == Some(username) {
        return Err(StoreError::Failed(Cause::new(format!("{username} is the user that MONGODB_URI names"))));
    }
    match admin(&options)?.run_command(gone(username)).await {
        Err(error) if code(&error) == Some(NOT_THERE) => Ok(()),
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

fn gone(username: &str) -> Document {
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
    fn names_and_passwords_are_values_whatever_is_in_them() {
        let hostile = "$where: '\"}, { role: \u{0}";
        let made = user("createUser", hostile, &hostile.to_owned().into());
        // The server takes the first key for the command.
        assert_eq!(made.keys().next().map(String::as_str), Some("createUser"));
        assert_eq!(made.get_str("createUser").unwrap(), hostile);
        assert_eq!(made.get_str("pwd").unwrap(), hostile);
        let roles = made.get_array("roles").unwrap();
        assert_eq!(roles.as_slice(), [doc! { "role": "root", "db": "admin" }.into()]);
        assert_eq!(user("updateUser", "a", &"b".to_owned().into()).keys().next().unwrap(), "updateUser");
        assert_eq!(gone(hostile).keys().next().map(String::as_str), Some("dropUser"));
        assert_eq!(gone(hostile).get_str("dropUser").unwrap(), hostile);
    }

    #[tokio::test]
    async fn who_we_are_is_not_taken_away() {
        let settings = weft_runtime::config::Fixed::new([(
            "MONGODB_URI",
            "mongodb://we%40ft:hunter2@127.0.0.1:1/?authSource=admin",
        )]);
        let settings = weft_runtime::config::Settings::new(settings);
        let config = StoreConfig::from_settings(&settings).unwrap();
        let refused = weft_runtime::telemetry::chain(&retire(&config, "we@ft").await.unwrap_err());
        assert!(refused.contains("we@ft is the user") && !refused.contains("hunter2"), "{refused}");
    }
}
