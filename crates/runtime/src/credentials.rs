//! New credentials of a store. The operator opens no store: the service that owns one changes its users, as a Job of its image
//! with the arguments `credentials grant` or `credentials retire`.
//!
//! | setting | |
//! |---|---|
//! | `CREDENTIALS_USERNAME` (or `…_FILE`) | the user to make or to remove |
//! | `CREDENTIALS_PASSWORD` (or `…_FILE`) | the password of the user to make |
//!
//! The setting that opens the store for the service opens it here for its superuser.

use std::process::ExitCode;
use std::time::Duration;

use tokio::time::timeout;

use crate::Process;
use crate::config::{ConfigError, Environment, ExposeSecret as _, SecretString, Settings};
use crate::store::StoreError;
use crate::telemetry::chain;

/// A store that takes longer for a few statements is away: the Job tries again.
const WITHIN: Duration = Duration::from_secs(30);
const GRANT: [&str; 2] = ["credentials", "grant"];
const RETIRE: [&str; 2] = ["credentials", "retire"];

/// What to do. Idempotent.
#[derive(Debug, Clone)]
pub enum Change {
    /// Makes this user, with no more rights than the service needs, or gives the existing one this password and these rights.
    Grant {
        /// Its name.
        username: String,
        /// Its password.
        password: SecretString,
    },
    /// Takes this user away, and ends what it still does.
    Retire {
        /// Its name.
        username: String,
    },
}

/// Why the users of a database could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a process is started for.
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
        let username = settings.required_secret("CREDENTIALS_USERNAME", "the name of a user")?;
        let username = username.expose_secret().to_owned();
        if command == Command::Retire {
            return Ok(Self::Retire { username });
        }
        let password = settings.required_secret("CREDENTIALS_PASSWORD", "that user's password")?;
        Ok(Self::Grant { username, password })
    }
}

/// The process of a service that owns a store: serves, or changes the store's users, as its arguments say.
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
        timeout(WITHIN, work).await.unwrap_or_else(|_| Err(format!("not done within {WITHIN:?}")))
    })
}

/// One plain line: Kubernetes shows a container's last lines as why it ended.
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
    fn a_process_serves_unless_it_is_told_something_else() {
        let of = |arguments: &[&str]| {
            Command::of(&arguments.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(of(&[]), Some(Command::Serve));
        assert_eq!(of(&["credentials", "grant"]), Some(Command::Grant));
        assert_eq!(of(&["credentials", "retire"]), Some(Command::Retire));
        for wrong in [&["credentials"][..], &["--help"], &["credentials", "grant", "now"]] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn who_is_taken_away_needs_no_password() {
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
