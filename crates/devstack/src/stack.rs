//! Everything that `make up` runs, as processes connected to each other.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::ops::Deref;
use std::path::PathBuf;

use anyhow::Result;
use futures::future::join_all;

use crate::ports::prefer;
use crate::state::kept_password;
use crate::{FerretDb, Jaeger, MailDev, Postgres, Process, RabbitMq, Service, ServiceOptions, StateDir};

/// Email of the first user, an admin.
const ADMIN_EMAIL: &str = "admin@example.com";

/// Options of a [`DevStack`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder for data and logs; a temporary folder when `None`.
    pub state: Option<PathBuf>,
    /// Preferred HTTP port of the broker; 0 for any.
    pub broker_port: u16,
    /// Preferred port of the console; 0 for any.
    pub console_port: u16,
    /// Preferred port of Jaeger's query API; 0 for any.
    pub jaeger_port: u16,
    /// Preferred port of the mail catcher's page; 0 for any.
    pub mail_port: u16,
    /// Whether Jaeger runs and services export spans.
    pub traces: bool,
    /// Share of traces that is kept, 0 to 1.
    pub trace_ratio: f64,
    /// Log filter of the services.
    pub log: String,
    /// Additional origins whose pages may call the broker.
    pub origins: Vec<String>,
    /// Environment variables of all services, such as longer timeouts for a busy machine.
    pub env: BTreeMap<String, String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            state: None,
            broker_port: 0,
            console_port: 0,
            jaeger_port: 0,
            mail_port: 0,
            traces: true,
            trace_ratio: 1.0,
            log: "info".into(),
            origins: Vec::new(),
            env: BTreeMap::new(),
        }
    }
}

/// Stores and services on loopback. The order of the fields is the drop order: callers before the services that they call.
#[derive(Debug)]
pub struct DevStack {
    /// The console.
    pub frontend: Service,
    /// Entry point for clients.
    pub broker: Service,
    /// Consumer of events.
    pub listener: Service,
    /// Service for users and sessions.
    pub authentication: Service,
    /// Service for log entries.
    pub logger: Service,
    /// Service that sends mails.
    pub mail: Service,
    /// Jaeger, unless traces are off.
    pub jaeger: Option<Jaeger>,
    /// SMTP server that receives all mails.
    pub mailcatcher: MailDev,
    /// Message broker for events.
    pub rabbitmq: RabbitMq,
    /// Store of authentication.
    pub postgres: Postgres,
    /// Store of the logger.
    pub mongodb: FerretDb,
    admin_password: String,
    state: StateDir,
}

impl DevStack {
    /// Starts everything and waits until all processes are ready.
    ///
    /// # Errors
    /// When a program is missing or a process is not ready in time; started processes are then killed.
    pub async fn start(options: Options) -> Result<Self> {
        let state = options.state.as_deref().map_or_else(StateDir::temporary, StateDir::at)?;
        let (mongodb, postgres, rabbitmq, mailcatcher, jaeger) = tokio::try_join!(
            async { FerretDb::start(&state.folder("mongodb")?).await },
            async { Postgres::start(&state.folder("postgres")?).await },
            async { RabbitMq::start(&state.folder("rabbitmq")?).await },
            async { MailDev::start(&state.folder("mailcatcher")?, options.mail_port).await },
            start_jaeger(&state, &options),
        )?;
        let common = common_options(&options, jaeger.as_ref());
        let folder = state.folder("services")?;
        let admin_password = kept_password(&folder, "admin-password", 24)?;
        let encryption_key = kept_password(&folder, "encryption-key", 64)?;
        let (logger, mail) = tokio::try_join!(
            Service::start("logger", &folder, common.clone().env("MONGODB_URI", mongodb.uri())),
            Service::start("mail", &folder, mail_options(&common, &mailcatcher)),
        )?;
        let known = format!("logger={},mail={}", logger.grpc_address(), mail.grpc_address());
        let console_port = prefer(options.console_port)?;
        let authentication_options = authentication_options(&common, &postgres, &admin_password)
            .env("AUTH_ENCRYPTION_KEYS", encryption_key)
            .env("AUTH_CONSOLE_URL", format!("http://127.0.0.1:{console_port}"))
            .env("WEFT_MESH_ADDRESSES", known.clone());
        let listener_options =
            common.clone().env("AMQP_URI", rabbitmq.uri()).env("WEFT_MESH_ADDRESSES", known.clone());
        let (authentication, listener) = tokio::try_join!(
            Service::start("authentication", &folder, authentication_options),
            Service::start("listener", &folder, listener_options),
        )?;
        let addresses = format!("{known},authentication={}", authentication.grpc_address());
        let broker_options = broker_options(&options, &common, console_port, jaeger.as_ref())
            .env("AMQP_URI", rabbitmq.uri())
            .env("WEFT_MESH_ADDRESSES", addresses);
        let broker = Service::start("broker", &folder, broker_options).await?;
        let frontend_options = frontend_options(&common, console_port, &broker, jaeger.as_ref());
        let frontend = Service::start("frontend", &folder, frontend_options).await?;
        Ok(Self {
            frontend,
            broker,
            listener,
            authentication,
            logger,
            mail,
            jaeger,
            mailcatcher,
            rabbitmq,
            postgres,
            mongodb,
            admin_password,
            state,
        })
    }

    /// URL of the broker.
    #[must_use]
    pub fn broker_url(&self) -> String {
        self.broker.http_url()
    }

    /// URL of Jaeger's query API, unless traces are off.
    #[must_use]
    pub fn jaeger_url(&self) -> Option<String> {
        self.jaeger.as_ref().map(Jaeger::query_url)
    }

    /// Email and password of the first user, an admin.
    #[must_use]
    pub fn admin(&self) -> (&'static str, &str) {
        (ADMIN_EMAIL, &self.admin_password)
    }

    /// The folder for data and logs.
    #[must_use]
    pub fn state(&self) -> &StateDir {
        &self.state
    }

    /// All addresses and credentials, as pairs of name and value.
    #[must_use]
    pub fn urls(&self) -> Vec<(&'static str, String)> {
        let mut urls = vec![("BROKER_URL", self.broker_url()), ("CONSOLE_URL", self.frontend.http_url())];
        urls.extend(self.jaeger_url().map(|url| ("JAEGER_URL", url)));
        urls.extend([
            ("MAIL_URL", self.mailcatcher.url()),
            ("ADMIN_EMAIL", ADMIN_EMAIL.to_owned()),
            ("ADMIN_PASSWORD", self.admin_password.clone()),
            ("BROKER_ADMIN_URL", self.broker.admin_url()),
            ("AUTHENTICATION_ADMIN_URL", self.authentication.admin_url()),
            ("LOGGER_ADMIN_URL", self.logger.admin_url()),
            ("LISTENER_ADMIN_URL", self.listener.admin_url()),
            ("MAIL_ADMIN_URL", self.mail.admin_url()),
            ("FRONTEND_ADMIN_URL", self.frontend.admin_url()),
            ("LOGGER_GRPC", self.logger.grpc_address().to_string()),
            ("AUTHENTICATION_GRPC", self.authentication.grpc_address().to_string()),
            ("MAIL_GRPC", self.mail.grpc_address().to_string()),
            ("AMQP_URI", self.rabbitmq.uri().to_owned()),
            ("MONGODB_URI", self.mongodb.uri().to_owned()),
            ("DATABASE_URL", self.postgres.uri().to_owned()),
            ("STATE", self.state.path().display().to_string()),
        ]);
        urls
    }

    /// Reports each process that exits before it is stopped: its name, its exit status and the end of its log.
    pub async fn report_exits(&self, report: impl Fn(&str)) -> Infallible {
        join_all(self.processes().map(async |process| report(&process.exited().await))).await;
        pending().await
    }

    /// Stops everything gracefully, callers first. A process that has exited is skipped.
    ///
    /// # Errors
    /// When a process does not exit in time; it and the remaining processes are then killed.
    pub async fn stop(self) -> Result<()> {
        for process in self.processes().filter(|process| process.pid().is_some()) {
            process.stop().await?;
        }
        Ok(())
    }

    /// All processes, callers before the services that they call.
    fn processes(&self) -> impl Iterator<Item = &Process> {
        let Self { frontend, broker, listener, authentication, logger, mail, .. } = self;
        let Self { jaeger, mailcatcher, rabbitmq, postgres, mongodb, .. } = self;
        let services = [frontend, broker, listener, authentication, logger, mail];
        let stores: [&Process; 4] = [mailcatcher, rabbitmq, postgres, mongodb];
        services.into_iter().map(Deref::deref).chain(jaeger.as_deref()).chain(stores)
    }
}

async fn start_jaeger(state: &StateDir, options: &Options) -> Result<Option<Jaeger>> {
    if !options.traces {
        return Ok(None);
    }
    Jaeger::start(&state.folder("jaeger")?, options.jaeger_port).await.map(Some)
}

fn common_options(options: &Options, jaeger: Option<&Jaeger>) -> ServiceOptions {
    let common = ServiceOptions { env: options.env.clone(), ..ServiceOptions::default() }
        .env("WEFT_LOG", &options.log)
        .env("OTEL_TRACES_SAMPLER_ARG", options.trace_ratio.to_string())
        .env("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=dev");
    match jaeger {
        Some(jaeger) => common.env("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.otlp_endpoint()),
        None => common,
    }
}

fn mail_options(common: &ServiceOptions, mailcatcher: &MailDev) -> ServiceOptions {
    let smtp = mailcatcher.smtp_address();
    common
        .clone()
        .env("MAIL_HOST", smtp.ip().to_string())
        .env("MAIL_PORT", smtp.port().to_string())
        .env("MAIL_ENCRYPTION", "none")
        .env("FROM_NAME", "Weft")
        .env("FROM_ADDRESS", "weft@example.com")
}

/// With a high sign-in limit, because tests and benchmarks sign in more often than people do.
fn authentication_options(
    common: &ServiceOptions,
    postgres: &Postgres,
    admin_password: &str,
) -> ServiceOptions {
    common
        .clone()
        .env("DATABASE_URL", postgres.uri())
        .env("AUTH_FIRST_USER_EMAIL", ADMIN_EMAIL)
        .env("AUTH_FIRST_USER_PASSWORD", admin_password)
        .env("AUTH_SIGN_IN_BURST", "100000")
        .env("AUTH_SIGN_IN_PER_MINUTE", "100000")
        .env("AUTH_RECIPIENT_MAILS_PER_HOUR", "0")
}

fn broker_options(
    options: &Options,
    common: &ServiceOptions,
    console_port: u16,
    jaeger: Option<&Jaeger>,
) -> ServiceOptions {
    let mut origins: Vec<String> =
        ["127.0.0.1", "localhost"].iter().map(|host| format!("http://{host}:{console_port}")).collect();
    origins.extend(options.origins.iter().cloned());
    let common = ServiceOptions { http_port: options.broker_port, ..common.clone() }
        .env("BROKER_ORIGINS", origins.join(","))
        // As in k8s/stack.yaml.
        .env("BROKER_OPEN_ACTIONS", "log,event")
        .env("BROKER_REQUESTS_PER_SECOND", "0")
        .env("BROKER_OPEN_BYTES_PER_DAY", "0")
        .env("BROKER_USER_MAILS_PER_HOUR", "0")
        .env("BROKER_RECIPIENT_MAILS_PER_HOUR", "0");
    match jaeger {
        Some(jaeger) => common.env("BROKER_JAEGER_URL", jaeger.query_url()),
        None => common,
    }
}

fn frontend_options(
    common: &ServiceOptions,
    port: u16,
    broker: &Service,
    jaeger: Option<&Jaeger>,
) -> ServiceOptions {
    let common =
        ServiceOptions { http_port: port, ..common.clone() }.env("FRONTEND_BROKER_URL", broker.http_url());
    match jaeger {
        Some(jaeger) => common.env("FRONTEND_JAEGER_URL", jaeger.query_url()),
        None => common,
    }
}
