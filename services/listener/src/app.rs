//! The listener, put together.

use weft_events::{Consumer, EventMetrics, Handlers, Publisher, Queue};
use weft_mesh::{Mesh, client::MeshError};
use weft_proto::weft::log::v1::log_service_client::LogServiceClient;
use weft_runtime::{Process, config::ConfigError};

use crate::{config::Config, handlers::log::LogHandler, status};

/// Why the listener could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The logger has no address.
    #[error(transparent)]
    Mesh(#[from] MeshError),
}

/// Consumes until it is told to end.
///
/// # Errors
/// When a setting is wrong; never because RabbitMQ or the logger is away.
pub async fn run(process: Process) -> Result<(), RunError> {
    let config = Config::from_settings(&process.settings)?;
    let mesh = Mesh::new(config.mesh, &process.metrics);
    let logger = LogServiceClient::new(mesh.channel("logger")?);
    let metrics = EventMetrics::register(&process.metrics);
    let publisher = Publisher::start(config.amqp, metrics.clone());
    let handlers = Handlers::default().on("log.*", LogHandler::new(logger));
    let consumer = Consumer::new(
        Queue::Log,
        config.consumer,
        handlers,
        publisher.clone(),
        process.clock.clone(),
        metrics,
    );
    tokio::spawn(status::mirror(consumer.watch(), process.health.condition("rabbitmq"), process.status));
    consumer.run(process.shutdown).await;
    publisher.close().await;
    Ok(())
}
