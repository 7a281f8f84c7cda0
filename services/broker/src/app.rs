//! The broker, put together.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use weft_events::{EventMetrics, Publisher};
use weft_mesh::client::MeshError;
use weft_mesh::{Channel, Mesh};
use weft_proto::weft::log::v1::log_service_client::LogServiceClient;
use weft_proto::weft::log::v1::{Entry, Level, WriteRequest};
use weft_runtime::clock::Clock;
use weft_runtime::config::ConfigError;
use weft_runtime::process::{self, ProcessError};
use weft_runtime::{Process, trace};

use crate::config::Config;
use crate::edge::Edge;
use crate::http::handle::check_name;
use crate::reply::ApiError;
use crate::{http, upstream};

/// What every request shares.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) logger: LogServiceClient<Channel>,
    pub(crate) publisher: Publisher,
    pub(crate) publish_timeout: Duration,
}

/// Why the broker could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The logger has no address.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// The HTTP address could not be listened on.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// Runs the broker until it is told to end.
///
/// # Errors
/// When a setting is wrong or its address is taken; never because RabbitMQ or the logger is away.
pub async fn run(process: Process) -> Result<(), RunError> {
    let config = Config::from_settings(&process.settings)?;
    let mesh = Mesh::new(config.mesh, &process.metrics);
    let publisher = Publisher::start(config.amqp, EventMetrics::register(&process.metrics));
    let app = App {
        clock: process.clock.clone(),
        logger: LogServiceClient::new(mesh.channel("logger")?),
        publisher: publisher.clone(),
        publish_timeout: config.publish_timeout,
    };
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 8080));
    let listener = process::listen(&process.settings, "WEFT_HTTP_ADDR", everywhere).await?;
    let router = http::router(app, Edge::new(&process.metrics, config.trust_incoming_traces));
    weft_runtime::http::serve(listener, router, process.shutdown).await;
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
        let now = self.clock.now();
        let entry = Entry {
            id: id.to_string(),
            time: Some(prost_types::Timestamp { seconds: now.as_second(), nanos: now.subsec_nanosecond() }),
            service: "broker".to_owned(),
            level: level.into(),
            name,
            data,
            trace_id: trace::current_trace_id().unwrap_or_default(),
            attributes: HashMap::new(),
        };
        let request = WriteRequest { entry: Some(entry) };
        self.logger.clone().write(request).await.map_err(|status| upstream::logger(&status))?;
        Ok(())
    }
}
