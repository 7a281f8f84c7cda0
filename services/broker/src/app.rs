//! The broker, put together.

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
use weft_proto::weft::log::v1::{Entry, Level};
use weft_runtime::clock::Clock;
use weft_runtime::config::ConfigError;
use weft_runtime::process::{self, ProcessError};
use weft_runtime::{Process, trace};

use crate::client::Proxies;
use crate::config::Config;
use crate::edge::{Edge, Policy};
use crate::http::handle::check_name;
use crate::in_flight::InFlight;
use crate::keys::Keys;
use crate::letters::DeadLetters;
use crate::limit::Limit;
use crate::open::OpenActions;
use crate::proxy::Proxy;
use crate::reply::ApiError;
use crate::session::SessionCookie;
use crate::standing::Standings;
use crate::token::Rules;
use crate::traces::Jaeger;
use crate::writes::Writes;
use crate::{callees, http, upstream};

/// Hashing a password takes its time, and waits its turn.
const AUTHENTICATION_TIMEOUT: Duration = Duration::from_secs(5);
/// A search for a text has no index: it reads every entry of its time window.
const SEARCH_TIMEOUT: Duration = Duration::from_secs(10);

/// What every request shares. Clones are one.
#[derive(Clone)]
pub(crate) struct App(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) clock: Arc<dyn Clock>,
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
    pub(crate) proxy: Proxy,
}

impl Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// Why the broker could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Another service has no address.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// The HTTP address could not be listened on.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The client for Jaeger could not be made.
    #[error("failed to make an HTTP client for Jaeger")]
    Jaeger(#[source] reqwest::Error),
}

/// Runs the broker until it is told to end.
///
/// # Errors
/// When a setting is wrong or its address is taken; never because RabbitMQ or another service is away.
pub async fn run(process: Process) -> Result<(), RunError> {
    let listening = process.health.condition("http");
    let config = Config::from_settings(&process.settings)?;
    let mesh = Mesh::new(config.mesh, &process.metrics);
    let publisher = Publisher::start(config.amqp, EventMetrics::register(&process.metrics));
    let authentication = mesh.channel("authentication")?.with_timeout(AUTHENTICATION_TIMEOUT);
    let logger = mesh.channel("logger")?;
    let dead_letters = DeadLetters::new(logger.clone(), authentication.clone(), publisher.clone());
    let called = vec![("authentication", authentication.clone()), ("logger", logger.clone())];
    let (status, shutdown) = (process.status.clone(), process.shutdown.clone());
    callees::watch(called, publisher.clone(), status, shutdown);
    let authentication = AuthServiceClient::new(authentication);
    let proxies = Arc::new(config.proxies);
    let app = App(Arc::new(Inner {
        clock: process.clock.clone(),
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
        proxy: Proxy::new(config.route_bounds),
    }));
    let limit = config.quota.map(Limit::new);
    if let Some(limit) = &limit {
        tokio::spawn(Arc::clone(limit).forget());
    }
    let trusted = Arc::clone(&proxies);
    let connections = config.connections.with_proxies(move |address| trusted.trusts(address));
    let policy =
        Policy { trust_incoming: config.trust_incoming_traces, proxies, origins: config.origins, limit };
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 8080));
    let listener = process::listen(&process.settings, "WEFT_HTTP_ADDR", everywhere).await?;
    listening.fulfilled();
    let edge = Edge::new(&process.metrics, policy, InFlight::new(&config.in_flight));
    let router = http::router(app, &config.routes, edge);
    weft_runtime::http::serve(listener, router, connections, process.shutdown).await;
    publisher.close().await;
    Ok(())
}

impl App {
    /// Has the logger store an entry.
    pub(crate) async fn write(
        &self,
        id: Uuid,
        level: Level,
        name: String,
        data: String,
    ) -> Result<(), ApiError> {
        check_name("log.name", &name)?;
        self.store(self.entry(id, level, name, data)).await
    }

    /// Writes down that somebody is about to do something that has to leave a trace of itself.
    ///
    /// # Errors
    /// When the logger has not stored it: then it must not be done.
    pub(crate) async fn audit<const N: usize>(
        &self,
        name: &str,
        attributes: [(&str, &str); N],
    ) -> Result<(), ApiError> {
        let mut entry = self.entry(self.clock.new_id(), Level::Info, name.to_owned(), String::new());
        entry.attributes =
            attributes.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        self.store(entry).await
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

    async fn store(&self, entry: Entry) -> Result<(), ApiError> {
        self.writes.write(entry).await.map_err(|status| upstream::logger(&status))?;
        Ok(())
    }
}
