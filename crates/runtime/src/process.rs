//! A process from its first line to its exit code.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket};

use crate::admin::{self, Admin};
use crate::clock::{self, Clock};
use crate::config::{ConfigError, Environment, Settings};
use crate::health::Health;
use crate::http;
use crate::lifecycle::{self, Drain, Shutdown};
use crate::metrics::Metrics;
use crate::status::StatusBoard;
use crate::telemetry::{Telemetry, TelemetryError, chain};

/// What a service gets from its surroundings.
#[derive(Debug, Clone)]
pub struct Process {
    /// The service's name, such as `logger`.
    pub name: &'static str,
    /// Where its settings come from.
    pub settings: Settings,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// What `/readyz` shows.
    pub health: Health,
    /// What `/status` shows.
    pub status: StatusBoard,
    /// When to end.
    pub shutdown: Shutdown,
}

/// Why a process could not run.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Logs or traces could not be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// An address could not be listened on.
    #[error("failed to listen on {setting}={address}")]
    Listen {
        /// The setting that holds the address.
        setting: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Listens on the address in this setting.
///
/// # Errors
/// When the setting is no address, or the address can't be listened on.
pub async fn listen(
    settings: &Settings,
    setting: &'static str,
    default: SocketAddr,
) -> Result<TcpListener, ProcessError> {
    let address = settings.or(setting, "an address such as 0.0.0.0:8080", default)?;
    bind(address).map_err(|source| ProcessError::Listen { setting, address, source })
}

/// With room for many connections that are not accepted yet: past it, the kernel resets connections whose client believes them
/// established. The kernel's own bound (`net.core.somaxconn`, 4,096 by default) applies too.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    const NOT_ACCEPTED_YET: u32 = 4_096;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(NOT_ACCEPTED_YET)
}

/// Runs a service: settings from the environment, telemetry, the admin port, signals, and at the end a flush.
///
/// The exit code is 0 when `body` returns `Ok`, else 1, with the error logged.
pub fn run<F, Fut, E>(name: &'static str, version: &'static str, body: F) -> ExitCode
where
    F: FnOnce(Process) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: std::error::Error + 'static,
{
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(name, &error),
    };
    runtime.block_on(async {
        let settings = Settings::new(Environment);
        let telemetry = match Telemetry::start(name, version, &settings) {
            Ok(telemetry) => telemetry,
            Err(error) => return refuse(name, &error),
        };
        raise_file_limit();
        let outcome = start(name, settings, body).await;
        if let Err(reason) = &outcome {
            tracing::error!(reason, "{name} can't go on");
        }
        telemetry.flush().await;
        if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    })
}

async fn start<F, Fut, E>(name: &'static str, settings: Settings, body: F) -> Result<(), String>
where
    F: FnOnce(Process) -> Fut,
    Fut: Future<Output = Result<(), E>>,
    E: std::error::Error + 'static,
{
    let process = Process {
        name,
        clock: clock::system(),
        metrics: Metrics::default(),
        health: Health::default(),
        status: StatusBoard::default(),
        shutdown: Shutdown::default(),
        settings,
    };
    surroundings(&process).await.map_err(|error| chain(&error))?;
    tracing::info!("{name} starts");
    body(process).await.map_err(|error| chain(&error))?;
    tracing::info!("{name} has ended");
    Ok(())
}

/// Opens the admin port and listens for signals, both until the process ends.
async fn surroundings(process: &Process) -> Result<(), ProcessError> {
    let Process { settings, health, metrics, status, shutdown, .. } = process.clone();
    let drain = Drain::from_settings(&settings)?;
    let listener = listen(&settings, "WEFT_ADMIN_ADDR", SocketAddr::from(([0, 0, 0, 0], 9090))).await?;
    let router = admin::router(Admin { health: health.clone(), metrics, status });
    tokio::spawn(async move {
        // It answers to the very end of the process.
        http::serve(listener, router, http::Bounds::default(), Shutdown::default()).await;
    });
    tokio::spawn(async move {
        if let Err(error) = lifecycle::listen(shutdown, health, drain).await {
            tracing::error!(error = chain(&error), "signals can't be listened to");
        }
    });
    Ok(())
}

/// A connection is an open file. Some surroundings allow 1,024 of them and leave it to the process to ask for more.
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(error = chain(&error), "failed to raise the limit of open files");
    }
}

/// Before telemetry stands there is only standard error.
fn refuse(name: &str, error: &(dyn std::error::Error + 'static)) -> ExitCode {
    eprintln!("{name}: {}", chain(error));
    ExitCode::FAILURE
}
