//! Rotates the credentials of a store. The operator does not connect to stores: it runs a Job with the image of the service that
//! owns the store and the arguments `credentials grant` or `credentials retire`.
//!
//! | setting | |
//! |---|---|
//! | `CREDENTIALS_USERNAME` (or `…_FILE`) | user to create or to remove |
//! | `CREDENTIALS_PASSWORD` (or `…_FILE`) | password of the user to create |
//!
//! The connection to the store is configured by the same setting as for the service; here it names the store's superuser.

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::timeout;

use crate::Process;
use crate::config::{ConfigError, Environment, ExposeSecret as _, SecretString, Settings};
use crate::store::StoreError;
use crate::telemetry::chain;

/// A store that needs longer for a few statements is unavailable; the Job is repeated.
const WITHIN: Duration = Duration::from_secs(30);
const GRANT: [&str; 2] = ["credentials", "grant"];
const RETIRE: [&str; 2] = ["credentials", "retire"];

/// A change of the store's users. Idempotent.
#[derive(Debug, Clone)]
pub enum Change {
    /// Creates this user with only the rights that the service needs, or gives the existing user this password and these rights.
    Grant {
        /// Name of the user.
        username: String,
        /// Password of the user.
        password: SecretString,
    },
    /// Removes this user and ends its connections.
    Retire {
        /// Name of the user.
        username: String,
    },
}

/// Why the users of a store could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// A setting is missing or invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the command line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Serve,
    Grant,
    Retire,
}

impl Command {
    fn of(arguments: &[String]) -> Option<Self> {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        match arguments.as_slice() {
            [] => Some(Self::Serve),
            arguments if arguments == GRANT => Some(Self::Grant),
            arguments if arguments == RETIRE => Some(Self::Retire),
            _ => None,
        }
    }
}

impl Change {
    fn from_settings(command: Command, settings: &Settings) -> Result<Self, ConfigError> {
        let username = settings.required_secret("CREDENTIALS_USERNAME", "a user name")?;
        let username = username.expose_secret().to_owned();
        if command == Command::Retire {
            return Ok(Self::Retire { username });
        }
        let password = settings.required_secret("CREDENTIALS_PASSWORD", "the user's password")?;
        Ok(Self::Grant { username, password })
    }
}

/// Entry point of a service that owns a store. Serves, or changes the store's users, depending on the arguments.
pub fn main<S, Served, E, C, Changed, F>(
    name: &'static str,
    version: &'static str,
    serve: S,
    change: C,
) -> ExitCode
where
    S: FnOnce(Process) -> Served,
    Served: Future<Output = Result<(), E>>,
    E: std::error::Error + 'static,
    C: FnOnce(Settings, Change) -> Changed,
    Changed: Future<Output = Result<(), F>>,
    F: std::error::Error + 'static,
{
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match Command::of(&arguments) {
        Some(Command::Serve) => crate::run(name, version, serve),
        Some(command) => {
            let settings = Settings::new(Environment);
            let change = |settings: Settings| async {
                let wanted = Change::from_settings(command, &settings).map_err(|error| chain(&error))?;
                change(settings, wanted).await.map_err(|error| chain(&error))
            };
            end(name, &arguments, once(change(settings)))
        }
        None => {
            eprintln!("usage: {name} [credentials grant | credentials retire]");
            ExitCode::from(2)
        }
    }
}

fn once(work: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| chain(&error))?.block_on(async {
        timeout(WITHIN, work).await.unwrap_or_else(|_| Err(format!("timed out after {WITHIN:?}")))
    })
}

/// Prints one plain line: Kubernetes shows the last lines of a container as its termination message.
fn end(name: &str, arguments: &[String], done: Result<(), String>) -> ExitCode {
    let what = arguments.join(" ");
    match done {
        Ok(()) => {
            println!("{name} {what}: done");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("{name} {what}: {reason}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Fixed;

    #[test]
    fn serves_without_arguments() {
        let of = |arguments: &[&str]| {
            Command::of(&arguments.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(of(&[]), Some(Command::Serve));
        assert_eq!(of(&["credentials", "grant"]), Some(Command::Grant));
        assert_eq!(of(&["credentials", "retire"]), Some(Command::Retire));
        for invalid in [&["credentials"][..], &["--help"], &["credentials", "grant", "now"]] {
            assert_eq!(of(invalid), None, "{invalid:?}");
        }
    }

    #[test]
    fn retire_needs_no_password() {
        let read = |command, settings| Change::from_settings(command, &Settings::new(settings));
        let named = || Fixed::new([("CREDENTIALS_USERNAME", "weft")]);
        assert!(
            matches!(read(Command::Retire, named()), Ok(Change::Retire { username }) if username == "weft")
        );
        assert!(read(Command::Grant, named()).unwrap_err().to_string().contains("CREDENTIALS_PASSWORD"));
        assert!(
            read(Command::Retire, Fixed::new([])).unwrap_err().to_string().contains("CREDENTIALS_USERNAME")
        );
    }
}
