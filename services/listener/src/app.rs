//! The listener, put together.

use futures::future::join_all;
use weft_events::{Consumer, EventMetrics, Handlers, Publisher, Queue};
use weft_mesh::{Mesh, client::MeshError};
use weft_proto::weft::{
    log::v1::log_service_client::LogServiceClient, mail::v1::mail_service_client::MailServiceClient,
};
use weft_runtime::{Process, config::ConfigError};

use crate::{config::Config, handlers, status};

/// Why the listener could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A service has no address.
    #[error(transparent)]
    Mesh(#[from] MeshError),
}

/// Consumes until it is told to end.
///
/// # Errors
/// When a setting is wrong; never because RabbitMQ or a service is away.
pub async fn run(process: Process) -> Result<(), RunError> {
    let config = Config::from_settings(&process.settings)?;
    let mesh = Mesh::new(config.mesh, &process.metrics);
    let logger = LogServiceClient::new(mesh.channel("logger")?);
    // A mail crosses the internet, where two seconds are soon gone.
    let mail = mesh.channel("mail")?.with_timeout(config.consumer.handle_within);
    let mail = MailServiceClient::new(mail);
    let metrics = EventMetrics::register(&process.metrics);
    let publisher = Publisher::start(config.amqp, metrics.clone());
    let consume = |queue, handlers: Handlers| {
        let (publisher, clock) = (publisher.clone(), process.clock.clone());
        Consumer::new(queue, config.consumer, handlers, publisher, clock, metrics.clone())
    };
    let consumers = [
        consume(Queue::Log, Handlers::default().on("log.*", handlers::log::handler(logger))),
        consume(Queue::Mail, Handlers::default().on("mail.send", handlers::mail::handler(mail))),
    ];
    let statuses = consumers.each_ref().map(Consumer::watch);
    tokio::spawn(status::mirror(statuses, process.health.condition("rabbitmq"), process.status));
    join_all(consumers.map(|consumer| consumer.run(process.shutdown.clone()))).await;
    publisher.close().await;
    Ok(())
}
