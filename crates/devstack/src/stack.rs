//! The whole of what `make up` runs, as processes wired to each other.

use std::path::PathBuf;

use anyhow::Result;

use crate::{FerretDb, Jaeger, RabbitMq, Service, ServiceOptions, StateDir};

/// How a [`DevStack`] is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where data and logs go; a temporary folder when there is none.
    pub state: Option<PathBuf>,
    /// The wanted port of the broker's HTTP face; 0 for any.
    pub broker_port: u16,
    /// The wanted port of Jaeger's query face; 0 for any.
    pub jaeger_port: u16,
    /// Whether Jaeger runs and spans leave the services.
    pub traces: bool,
    /// The share of traces that is kept, 0 to 1.
    pub trace_ratio: f64,
    /// The services' log filter.
    pub log: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            state: None,
            broker_port: 0,
            jaeger_port: 0,
            traces: true,
            trace_ratio: 1.0,
            log: "info".into(),
        }
    }
}

/// Stores and services on loopback. Fields are in the order in which they end: callers before those that they call.
#[derive(Debug)]
pub struct DevStack {
    /// The entry point.
    pub broker: Service,
    /// The consumer of events.
    pub listener: Service,
    /// The log store's service.
    pub logger: Service,
    /// Jaeger, unless traces are off.
    pub jaeger: Option<Jaeger>,
    /// The events' store.
    pub rabbitmq: RabbitMq,
    /// The logger's store.
    pub mongodb: FerretDb,
    state: StateDir,
}

impl DevStack {
    /// Starts everything and waits until all of it serves.
    ///
    /// # Errors
    /// When a program is missing or a process does not serve in time; what has started is ended.
    pub async fn start(options: Options) -> Result<Self> {
        let state = options.state.as_deref().map_or_else(StateDir::temporary, StateDir::at)?;
        let (mongodb, rabbitmq, jaeger) = tokio::try_join!(
            async { FerretDb::start(&state.folder("mongodb")?).await },
            async { RabbitMq::start(&state.folder("rabbitmq")?).await },
            start_jaeger(&state, &options),
        )?;
        let common = common_options(&options, jaeger.as_ref());
        let logs = state.folder("services")?;
        let of_logger = common.clone().env("MONGODB_URI", mongodb.uri());
        let logger = Service::start("logger", &logs, of_logger).await?;
        let of_callers = common
            .env("AMQP_URI", rabbitmq.uri())
            .env("WEFT_MESH_ADDRESSES", format!("logger={}", logger.grpc_address()));
        let of_broker = ServiceOptions { http_port: options.broker_port, ..of_callers.clone() };
        let (listener, broker) = tokio::try_join!(
            Service::start("listener", &logs, of_callers),
            Service::start("broker", &logs, of_broker),
        )?;
        Ok(Self { broker, listener, logger, jaeger, rabbitmq, mongodb, state })
    }

    /// `http://…` of the broker.
    #[must_use]
    pub fn broker_url(&self) -> String {
        self.broker.http_url()
    }

    /// `http://…` of Jaeger's query API, unless traces are off.
    #[must_use]
    pub fn jaeger_url(&self) -> Option<String> {
        self.jaeger.as_ref().map(Jaeger::query_url)
    }

    /// The folder with data and logs.
    #[must_use]
    pub fn state(&self) -> &StateDir {
        &self.state
    }

    /// Every address, as NAME and value.
    #[must_use]
    pub fn urls(&self) -> Vec<(&'static str, String)> {
        let mut urls = vec![("BROKER_URL", self.broker_url())];
        urls.extend(self.jaeger_url().map(|url| ("JAEGER_URL", url)));
        urls.extend([
            ("BROKER_ADMIN_URL", self.broker.admin_url()),
            ("LOGGER_ADMIN_URL", self.logger.admin_url()),
            ("LISTENER_ADMIN_URL", self.listener.admin_url()),
            ("LOGGER_GRPC", self.logger.grpc_address().to_string()),
            ("AMQP_URI", self.rabbitmq.uri().to_owned()),
            ("MONGODB_URI", self.mongodb.uri().to_owned()),
            ("STATE", self.state.path().display().to_string()),
        ]);
        urls
    }

    /// Ends everything as a rollout would, callers first.
    ///
    /// # Errors
    /// When a process does not end in time; it and the rest are then killed.
    pub async fn stop(self) -> Result<()> {
        self.broker.stop().await?;
        self.listener.stop().await?;
        self.logger.stop().await?;
        if let Some(jaeger) = &self.jaeger {
            jaeger.stop().await?;
        }
        self.rabbitmq.stop().await?;
        self.mongodb.stop().await?;
        Ok(())
    }
}

async fn start_jaeger(state: &StateDir, options: &Options) -> Result<Option<Jaeger>> {
    if !options.traces {
        return Ok(None);
    }
    Jaeger::start(&state.folder("jaeger")?, options.jaeger_port).await.map(Some)
}

fn common_options(options: &Options, jaeger: Option<&Jaeger>) -> ServiceOptions {
    let common = ServiceOptions::default()
        .env("WEFT_LOG", &options.log)
        .env("OTEL_TRACES_SAMPLER_ARG", options.trace_ratio.to_string())
        .env("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=dev");
    match jaeger {
        Some(jaeger) => common.env("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.otlp_endpoint()),
        None => common,
    }
}
