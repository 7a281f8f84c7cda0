//! Composition root.

use std::net::SocketAddr;

use weft_runtime::Process;
use weft_runtime::config::ConfigError;
use weft_runtime::process::{self, ProcessError};

use crate::assets::Assets;
use crate::config::Config;
use crate::http::{self, Site};
use crate::metrics::RequestMetrics;
use crate::pages::{PageError, Pages};

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A setting is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A page could not be rendered.
    #[error(transparent)]
    Page(#[from] PageError),
    /// The HTTP port could not be opened.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// Serves the console until shutdown is requested.
///
/// # Errors
/// When a setting is invalid or the HTTP port can't be opened.
pub async fn run(process: Process) -> Result<(), RunError> {
    let ready = process.health.condition("pages");
    let config = Config::from_settings(&process.settings)?;
    let connections = weft_runtime::http::Bounds::from_settings(&process.settings)?;
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 8080));
    let listener = process::listen(&process.settings, "WEFT_HTTP_ADDR", everywhere).await?;
    let assets = Assets::embedded();
    let pages = Pages::render(&config, &assets)?;
    let router = http::router(Site::new(&config, assets, pages), RequestMetrics::register(&process.metrics));
    ready.fulfilled();
    weft_runtime::http::serve(listener, router, connections, process.shutdown).await;
    Ok(())
}
