//! Runs a process from start to exit code.

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

/// What [`run`] provides to a service.
#[derive(Debug, Clone)]
pub struct Process {
    /// The service's name, such as `logger`.
    pub name: &'static str,
    /// The settings.
    pub settings: Settings,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Served at `/metrics`.
    pub metrics: Metrics,
    /// Served at `/readyz`.
    pub health: Health,
    /// Served at `/status`.
    pub status: StatusBoard,
    /// The shutdown signal.
    pub shutdown: Shutdown,
}

/// Why a process could not run.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// A setting is missing or invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Logs or traces could not be set up.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// Listening on an address failed.
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
/// When the setting is not an address, or listening on the address fails.
pub async fn listen(
    settings: &Settings,
    setting: &'static str,
    default: SocketAddr,
) -> Result<TcpListener, ProcessError> {
    let address = settings.or(setting, "an address such as 0.0.0.0:8080", default)?;
    bind(address).map_err(|source| ProcessError::Listen { setting, address, source })
}

/// Listens with a long backlog: when the backlog is full, the kernel resets connections that the client considers established.
/// The kernel's own limit (`net.core.somaxconn`, 4,096 by default) applies too.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    const BACKLOG: u32 = 4_096;
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Runs a service: reads settings from the environment, starts telemetry and the admin port, handles signals, and flushes
/// telemetry at the end.
///
/// The exit code is 0 when `body` returns `Ok`; otherwise the error is logged and the exit code is 1.
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
            tracing::error!(reason, "process failed");
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
    serve_admin_and_signals(&process).await.map_err(|error| chain(&error))?;
    tracing::info!("process starting");
    body(process).await.map_err(|error| chain(&error))?;
    tracing::info!("process stopped");
    Ok(())
}

/// Starts the admin port and the signal handlers, which run until the process exits.
async fn serve_admin_and_signals(process: &Process) -> Result<(), ProcessError> {
    let Process { settings, health, metrics, status, shutdown, .. } = process.clone();
    let drain = Drain::from_settings(&settings)?;
    let listener = listen(&settings, "WEFT_ADMIN_ADDR", SocketAddr::from(([0, 0, 0, 0], 9090))).await?;
    let router = admin::router(Admin { health: health.clone(), metrics, status });
    tokio::spawn(async move {
        // Not stopped by the shutdown: probes and metrics are needed until the process exits.
        http::serve(listener, router, http::Bounds::default(), Shutdown::default()).await;
    });
    tokio::spawn(async move {
        if let Err(error) = lifecycle::listen(shutdown, health, drain).await {
            tracing::error!(error = chain(&error), "failed to install the signal handlers");
        }
    });
    Ok(())
}

/// Raises the soft limit of open files to the hard limit, because each connection is an open file. Some environments start
/// processes with a soft limit of 1,024.
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(error = chain(&error), "failed to raise the limit of open files");
    }
}

/// Reports an error on standard error, because logging is not set up yet.
fn refuse(name: &str, error: &(dyn std::error::Error + 'static)) -> ExitCode {
    eprintln!("{name}: {}", chain(error));
    ExitCode::FAILURE
}
