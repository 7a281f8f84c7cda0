//! Puts mail together.

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
use crate::message::Sender;
use crate::metrics::Metrics;
use crate::smtp::{SetupError, Smtp};
use crate::supervise::Watch;
use crate::template::{TemplateError, Templates};
use crate::under_way::UnderWay;

/// Why mail could not run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A template is wrong.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// TLS can't be used.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Its port can't be listened on.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// Its server could not go on.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Mail, ready to serve.
#[derive(Debug)]
pub struct App {
    server: Server,
    listener: TcpListener,
    smtp: Smtp,
    watch: Watch,
    shutdown: Shutdown,
}

impl App {
    /// Reads the settings, compiles the templates and opens the port. The SMTP server need not be there.
    ///
    /// # Errors
    /// When a setting or a template is wrong, or the port can't be listened on.
    pub async fn build(process: &Process) -> Result<Self, AppError> {
        let Config { smtp, from, domain, templates } = Config::from_settings(&process.settings)?;
        let templates = Templates::load(templates.as_deref())?;
        tracing::info!(templates = templates.names().collect::<Vec<_>>().join(", "), "templates compiled");
        if smtp.encryption == Encryption::None && smtp.login.is_some() {
            tracing::warn!("MAIL_ENCRYPTION=none: MAIL_PASSWORD crosses the network as it is");
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
            under_way: UnderWay::default(),
            shutdown: process.shutdown.clone(),
            // The rest is for the answers' way.
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

    /// Serves until shutdown is requested, then until the mails in hand are sent or the drain time has passed.
    ///
    /// # Errors
    /// When the server can't go on.
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
