//! Composition root: builds and runs the broker.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use weft_events::{EventMetrics, Publisher};
use weft_mesh::client::MeshError;
use weft_mesh::{Channel, Mesh};
use weft_proto::weft::auth::v1::auth_service_client::AuthServiceClient;
use weft_proto::weft::log::v1::log_service_client::LogServiceClient;
use weft_proto::weft::log::v1::{Entry, Level, WriteRequest};
use weft_runtime::clock::Clock;
use weft_runtime::config::ConfigError;
use weft_runtime::process::{self, ProcessError};
use weft_runtime::{Process, trace};
use weft_values::audit;

use crate::client::Proxies;
use crate::config::Config;
use crate::edge::{Edge, Policy};
use crate::forward::Forwarder;
use crate::http::handle::check_name;
use crate::in_flight::InFlight;
use crate::keys::Keys;
use crate::letters::DeadLetters;
use crate::limit::Limit;
use crate::open::OpenActions;
use crate::quotas::Quotas;
use crate::reply::ApiError;
use crate::session::SessionCookie;
use crate::standing::Standings;
use crate::token::Rules;
use crate::traces::Jaeger;
use crate::writes::Writes;
use crate::{callees, http, upstream};

/// Longer than the mesh's default: hashing a password is slow, and hashes are queued.
const AUTHENTICATION_TIMEOUT: Duration = Duration::from_secs(5);
/// A search for a text has no index: it reads every entry in its time range.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(10);

/// State shared by all requests. Clones share the same state.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) logger: LogServiceClient<Channel>,
    pub(crate) searches: LogServiceClient<Channel>,
    pub(crate) writes: Writes,
    pub(crate) authentication: AuthServiceClient<Channel>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) standings: Standings,
    pub(crate) token_rules: Rules,
    pub(crate) proxies: Arc<Proxies>,
    pub(crate) cookies: SessionCookie,
    pub(crate) publisher: Publisher,
    pub(crate) publish_timeout: Duration,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) jaeger: Option<Jaeger>,
    pub(crate) open_actions: OpenActions,
    pub(crate) quotas: Quotas,
    pub(crate) forwarder: Forwarder,
}

impl Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

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
    let dead_letters = DeadLetters::new(logger.clone(), authentication.clone(), publisher.clone());
    let callees = vec![("authentication", authentication.clone()), ("logger", logger.clone())];
    let (status, shutdown) = (process.status.clone(), process.shutdown.clone());
    callees::watch(callees, publisher.clone(), status, shutdown);
    let authentication = AuthServiceClient::new(authentication);
    let proxies = Arc::new(config.proxies);
    let app = App(Arc::new(Inner {
        clock: process.clock.clone(),
        logger: LogServiceClient::new(logger.clone()),
        searches: LogServiceClient::new(logger.clone().with_timeout(SEARCH_TIMEOUT)),
        writes: Writes::start(logger),
        keys: Keys::new(authentication.clone()),
        standings: Standings::default(),
        authentication,
        token_rules: Rules::new(&config.token_issuer),
        proxies: Arc::clone(&proxies),
        cookies: SessionCookie::new(config.cookie_security, &config.token_issuer),
        dead_letters,
        publisher: publisher.clone(),
        publish_timeout: config.publish_timeout,
        jaeger: config.jaeger.map(Jaeger::new).transpose().map_err(RunError::Jaeger)?,
        open_actions: config.open_actions,
        quotas: Quotas::new(config.quotas),
        forwarder: Forwarder::new(config.route_bounds),
    }));
    let limit = config.quota.map(Limit::new);
    if let Some(limit) = &limit {
        tokio::spawn(Arc::clone(limit).clean_up());
    }
    let trusted = Arc::clone(&proxies);
    let connections = config.connections.with_proxies(move |address| trusted.trusts(address));
    let policy =
        Policy { trust_incoming: config.trust_incoming_traces, proxies, origins: config.origins, limit };
    let default_address = SocketAddr::from(([0, 0, 0, 0], 8080));
    let listener = process::listen(&process.settings, "WEFT_HTTP_ADDR", default_address).await?;
    listening.fulfilled();
    let edge = Edge::new(&process.metrics, policy, InFlight::new(&config.in_flight));
    let router = http::router(app, &config.routes, edge);
    weft_runtime::http::serve(listener, router, connections, process.shutdown).await;
    publisher.close().await;
    Ok(())
}

impl App {
    /// Stores an entry in the logger.
    pub(crate) async fn write(
        &self,
        id: Uuid,
        level: Level,
        name: String,
        data: String,
    ) -> Result<(), ApiError> {
        check_name("log.name", &name)?;
        let entry = self.entry(id, level, name, data);
        self.writes.write(entry).await.map(drop).map_err(|status| upstream::logger(&status))
    }

    /// Stores an audit record of an operation that is about to happen.
    ///
    /// # Errors
    /// When the logger has not stored the record. Then the operation must not happen.
    pub(crate) async fn audit<const N: usize>(
        &self,
        name: &str,
        attributes: [(&str, &str); N],
    ) -> Result<(), ApiError> {
        let entry = self.entry(self.clock.new_id(), Level::Info, name.to_owned(), String::new());
        let attributes = attributes.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        let entry = Entry { service: audit::BROKER.to_owned(), attributes: attributes.collect(), ..entry };
        let written = self.logger.clone().write_audit(WriteRequest { entry: Some(entry) }).await;
        written.map(drop).map_err(|status| upstream::logger(&status))
    }

    fn entry(&self, id: Uuid, level: Level, name: String, data: String) -> Entry {
        Entry {
            id: id.to_string(),
            time: Some(weft_values::time::to_proto(self.clock.now())),
            service: "broker".to_owned(),
            level: level.into(),
            name,
            data,
            trace_id: trace::current_trace_id().unwrap_or_default(),
            attributes: HashMap::new(),
        }
    }
}
