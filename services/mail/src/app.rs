//! Composition root.

use std::sync::Arc;

use tokio::net::TcpListener;
use weft_mesh::Server;
use weft_mesh::server::{self, ServeError};
use weft_proto::weft::mail::v1::mail_service_server::MailServiceServer;
use weft_runtime::Process;
use weft_runtime::config::ConfigError;
use weft_runtime::lifecycle::{Drain, Shutdown};
use weft_runtime::process::ProcessError;

use crate::config::{Config, Encryption};
use crate::courier::Courier;
use crate::grpc::Api;
use crate::in_flight::InFlight;
use crate::message::Sender;
use crate::metrics::Metrics;
use crate::smtp::{SetupError, Smtp};
use crate::supervise::Watch;
use crate::template::{TemplateError, Templates};

/// Why the service could not start or continue.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A setting is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A template is invalid.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// TLS can't be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The gRPC port can't be opened.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The gRPC server failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// The service, ready to run.
#[derive(Debug)]
pub struct App {
    server: Server,
    listener: TcpListener,
    smtp: Smtp,
    watch: Watch,
    shutdown: Shutdown,
}

impl App {
    /// Reads the settings, compiles the templates and opens the port. Does not need the SMTP server.
    ///
    /// # Errors
    /// When a setting or a template is invalid, or the port can't be opened.
    pub async fn build(process: &Process) -> Result<Self, AppError> {
        let Config { smtp, from, domain, templates } = Config::from_settings(&process.settings)?;
        let templates = Templates::load(templates.as_deref())?;
        tracing::info!(templates = templates.names().collect::<Vec<_>>().join(", "), "templates compiled");
        if smtp.encryption == Encryption::None && smtp.login.is_some() {
            tracing::warn!("MAIL_ENCRYPTION=none: MAIL_PASSWORD is sent unencrypted");
        }
        let smtp = Smtp::new(smtp, domain.clone())?;
        let ready = process.health.condition("grpc");
        let listener = server::listen(process).await?;
        ready.fulfilled();
        let watch = Watch::new(process.status.clone());
        let metrics = Metrics::register(&process.metrics);
        let courier = Courier {
            smtp: smtp.clone(),
            watch: watch.clone(),
            metrics: metrics.clone(),
            in_flight: InFlight::default(),
            shutdown: process.shutdown.clone(),
            // The last quarter is for sending the responses.
            grace: Drain::from_settings(&process.settings)?.timeout * 3 / 4,
        };
        let api = Api {
            templates: Arc::new(templates),
            sender: Sender { from, domain },
            courier,
            clock: Arc::clone(&process.clock),
            metrics,
        };
        let server =
            Server::new(&process.metrics, process.shutdown.clone()).serving(MailServiceServer::new(api));
        Ok(Self { server, listener, smtp, watch, shutdown: process.shutdown.clone() })
    }

    /// Serves until shutdown is requested, then until the mails in flight are sent or the drain timeout has passed.
    ///
    /// # Errors
    /// When the gRPC server fails.
    pub async fn run(self) -> Result<(), AppError> {
        let Self { server, listener, smtp, watch, shutdown } = self;
        tokio::spawn(watch.run(smtp.clone(), shutdown.clone()));
        server.serve(listener).await?;
        tokio::select! {
            () = smtp.close() => {}
            () = shutdown.cut() => {}
        }
        Ok(())
    }
}
