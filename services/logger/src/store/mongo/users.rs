//! Users of MongoDB: the logger signs in as one that may use its own database only. The Job that makes and removes users signs
//! in as `root`.

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
/// On the logger's database. `readWrite` makes collections and indexes; `collMod`, which changes the retention, needs `dbAdmin`.
/// Neither can make users or read another database.
const ROLES: [&str; 2] = ["readWrite", "dbAdmin"];
const ALREADY_THERE: i32 = 51_003;
const NOT_THERE: i32 = 11;

/// Makes a user who may do everything in the logger's database and nothing outside of it, or gives the one that is there this
/// password and these roles. Idempotent.
///
/// # Errors
/// When MongoDB can't be reached or refuses, or it is the user that we are.
pub async fn grant(config: &StoreConfig, username: &str, password: &SecretString) -> Result<(), StoreError> {
    let options = parse(config).await?;
    refuse_ourselves(&options, username)?;
    let database = admin(&options)?;
    let user = |command| user(command, username, password, &config.database);
    match database.run_command(user("createUser")).await {
        Err(error) if code(&error) == Some(ALREADY_THERE) => {
            database.run_command(user("updateUser")).await.map_err(classify)?;
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
    refuse_ourselves(&options, username)?;
    match admin(&options)?.run_command(gone(username)).await {
        Err(error) if code(&error) == Some(NOT_THERE) => Ok(()),
        done => done.map(drop).map_err(classify),
    }
}

fn refuse_ourselves(options: &ClientOptions, username: &str) -> Result<(), StoreError> {
    if options.credential.as_ref().and_then(|credential| credential.username.as_deref()) != Some(username) {
        return Ok(());
    }
    Err(StoreError::Failed(Cause::new(format!("{username} is the user that MONGODB_URI names"))))
}

fn user(command: &str, username: &str, password: &SecretString, database: &str) -> Document {
    let roles = ROLES.map(|role| doc! { "role": role, "db": database });
    doc! {
        command: username,
        "pwd": password.expose_secret(),
        "roles": roles.to_vec(),
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
        let made = user("createUser", hostile, &hostile.to_owned().into(), "logs");
        // The server takes the first key for the command.
        assert_eq!(made.keys().next().map(String::as_str), Some("createUser"));
        assert_eq!(made.get_str("createUser").unwrap(), hostile);
        assert_eq!(made.get_str("pwd").unwrap(), hostile);
        let roles = made.get_array("roles").unwrap();
        let on_its_database = |role: &str| doc! { "role": role, "db": "logs" }.into();
        assert_eq!(roles.as_slice(), ["readWrite", "dbAdmin"].map(on_its_database));
        let changed = user("updateUser", "a", &"b".to_owned().into(), "logs");
        assert_eq!(changed.keys().next().unwrap(), "updateUser");
        assert_eq!(gone(hostile).keys().next().map(String::as_str), Some("dropUser"));
        assert_eq!(gone(hostile).get_str("dropUser").unwrap(), hostile);
    }

    #[tokio::test]
    async fn who_we_are_is_neither_changed_nor_taken_away() {
        let settings = weft_runtime::config::Fixed::new([(
            "MONGODB_URI",
            "mongodb://we%40ft:hunter2@127.0.0.1:1/?authSource=admin",
        )]);
        let settings = weft_runtime::config::Settings::new(settings);
        let config = StoreConfig::from_settings(&settings).unwrap();
        let password = "hunter2".to_owned().into();
        for refused in [retire(&config, "we@ft").await, grant(&config, "we@ft", &password).await] {
            let refused = weft_runtime::telemetry::chain(&refused.unwrap_err());
            assert!(refused.contains("we@ft is the user") && !refused.contains("hunter2"), "{refused}");
        }
    }
}
