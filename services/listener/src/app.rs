//! Composition root: builds and runs the listener.

use futures::future::join_all;
use weft_events::{Consumer, Consumers, DeadLetterMover, EventMetrics, Handlers, Publisher, Queue};
use weft_mesh::{Mesh, client::MeshError};
use weft_proto::weft::{
    log::v1::log_service_client::LogServiceClient, mail::v1::mail_service_client::MailServiceClient,
};
use weft_runtime::{Process, config::ConfigError};

use crate::{config::Config, handlers, letters::Letters, status};

/// Why the listener failed to run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A setting is missing or invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A service has no address.
    #[error(transparent)]
    Mesh(#[from] MeshError),
}

/// Consumes until shutdown is requested.
///
/// # Errors
/// When a setting is missing or invalid; never because RabbitMQ or a service is unavailable.
pub async fn run(process: Process) -> Result<(), RunError> {
    let config = Config::from_settings(&process.settings)?;
    let mesh = Mesh::new(config.mesh, &process.metrics);
    let channel = mesh.channel("logger")?;
    let letters = Letters::new(channel.clone());
    let logger = LogServiceClient::new(channel);
    let mail = mesh.channel("mail")?.with_timeout(config.mail_within);
    let mail = MailServiceClient::new(mail);
    let metrics = EventMetrics::register(&process.metrics);
    let publisher = Publisher::start(config.amqp.clone(), metrics.clone());
    let mover = DeadLetterMover::start(config.amqp, letters, process.clock.clone(), metrics.clone());
    let consumers = Consumers::start(publisher.clone(), process.clock.clone(), metrics);
    let topology = consumers.clone();
    tokio::spawn(async move { topology.keep_topology().await });
    let log_handlers = Handlers::default().on("log.*", handlers::log::handler(logger));
    let mail_handlers = Handlers::default().on("mail.send", handlers::mail::handler(mail));
    let consuming = [
        consumers.of(Queue::Log, config.log, log_handlers),
        consumers.of(Queue::Mail, config.mail, mail_handlers),
    ];
    let statuses = consuming.each_ref().map(Consumer::watch);
    tokio::spawn(status::mirror(statuses, process.health.condition("rabbitmq"), process.status));
    let consuming = join_all(consuming.map(|consumer| consumer.run(process.shutdown.clone())));
    tokio::join!(consuming, mover.run(process.shutdown.clone()));
    consumers.close().await;
    publisher.close().await;
    Ok(())
}
