//! Composition root: builds and runs the broker.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use weft_events::{EventMetrics, Publisher};
use weft_mesh::Mesh;
use weft_mesh::client::MeshError;
use weft_runtime::Process;
use weft_runtime::config::ConfigError;
use weft_runtime::process::{self, ProcessError};

use crate::config::Config;
use crate::edge::{Edge, Policy};
use crate::events::Events;
use crate::forward::Forwarder;
use crate::http::Parts;
use crate::in_flight::InFlight;
use crate::keys::Keys;
use crate::letters::DeadLetters;
use crate::limit::Limit;
use crate::logger::Logger;
use crate::quotas::Quotas;
use crate::session::SessionCookie;
use crate::signed_in::Callers;
use crate::standing::Standings;
use crate::token::Rules;
use crate::traces::Jaeger;
use crate::upstream::AuthClient;
use crate::{callees, http};

/// Longer than the mesh's default: hashing a password is slow, and hashes are queued.
const AUTHENTICATION_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the broker failed to run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A setting is missing or invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A service has no address.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// Listening on the HTTP address failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Creating the HTTP client for Jaeger failed.
    #[error("failed to create the HTTP client for Jaeger")]
    Jaeger(#[source] reqwest::Error),
}

/// Runs the broker until shutdown is requested.
///
/// # Errors
/// When a setting is missing or invalid, or listening fails; never because RabbitMQ or a service is unavailable.
pub async fn run(process: Process) -> Result<(), RunError> {
    let listening = process.health.condition("http");
    let config = Config::from_settings(&process.settings)?;
    let mesh = Mesh::new(config.mesh, &process.metrics);
    let publisher = Publisher::start(config.amqp, EventMetrics::register(&process.metrics));
    let authentication = mesh.channel("authentication")?.with_timeout(AUTHENTICATION_TIMEOUT);
    let logger = mesh.channel("logger")?;
    let callees = vec![("authentication", authentication.clone()), ("logger", logger.clone())];
    let (status, shutdown) = (process.status.clone(), process.shutdown.clone());
    callees::watch(callees, publisher.clone(), status, shutdown);
    let clock = process.clock.clone();
    let entries = Arc::new(Logger::new(clock.clone(), logger.clone()));
    let dead_letters =
        DeadLetters::new(logger, authentication.clone(), publisher.clone(), Arc::clone(&entries));
    let authentication = AuthClient::new(authentication);
    let keys = Keys::new(authentication.clone());
    let callers = Arc::new(Callers {
        clock: clock.clone(),
        keys: Arc::clone(&keys),
        rules: Rules::new(&config.token_issuer),
        open_actions: config.open_actions,
        authentication: authentication.clone(),
        standings: Standings::default(),
    });
    let parts = Parts {
        clock,
        logger: entries,
        authentication,
        keys,
        callers: Arc::clone(&callers),
        cookies: Arc::new(SessionCookie::new(config.cookie_security, &config.token_issuer)),
        events: Arc::new(Events { publisher: publisher.clone(), timeout: config.publish_timeout }),
        dead_letters: Arc::new(dead_letters),
        jaeger: config.jaeger.map(Jaeger::new).transpose().map_err(RunError::Jaeger)?.map(Arc::new),
        quotas: Arc::new(Quotas::new(config.quotas)),
        forwarder: Arc::new(Forwarder::new(callers, config.route_bounds)),
    };
    let limit = config.quota.map(Limit::new);
    if let Some(limit) = &limit {
        tokio::spawn(Arc::clone(limit).clean_up());
    }
    let proxies = Arc::new(config.proxies);
    let trusted = Arc::clone(&proxies);
    let connections = config.connections.with_proxies(move |address| trusted.trusts(address));
    let policy =
        Policy { trust_incoming: config.trust_incoming_traces, proxies, origins: config.origins, limit };
    let default_address = SocketAddr::from(([0, 0, 0, 0], 8080));
    let listener = process::listen(&process.settings, "WEFT_HTTP_ADDR", default_address).await?;
    listening.fulfilled();
    let edge = Edge::new(&process.metrics, policy, InFlight::new(&config.in_flight));
    let router = http::router(parts, &config.routes, edge);
    weft_runtime::http::serve(listener, router, connections, process.shutdown).await;
    publisher.close().await;
    Ok(())
}
