//! Composition root: builds and runs the logger.

use std::sync::Arc;

use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use weft_mesh::Server;
use weft_mesh::server::{self, ServeError};
use weft_proto::logs::log_service_server::LogServiceServer as OriginalServer;
use weft_proto::weft::deadletter::MAX_MESSAGE_BYTES;
use weft_proto::weft::deadletter::v1::dead_letter_service_server::DeadLetterServiceServer;
use weft_proto::weft::log::v1::log_service_server::LogServiceServer;
use weft_runtime::Process;
use weft_runtime::config::ConfigError;
use weft_runtime::lifecycle::Shutdown;
use weft_runtime::process::ProcessError;
use weft_runtime::store::StoreWatch;

use crate::config::Config;
use crate::group::Writer;
use crate::grpc::Api;
use crate::grpc::letters::Letters;
use crate::grpc::original::Original;
use crate::letters;
use crate::metrics::Metrics;
use crate::store::LogStore;
use crate::store::mongo::{self, MongoStore, StoreAddress};
use crate::supervise::{STORE, Supervisor};
use crate::trace::DatabaseSpans;

/// Why the logger failed to run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A setting is missing or invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Listening on the port failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The gRPC server failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// A logger, ready to serve.
#[derive(Debug)]
pub struct App {
    server: Server,
    listener: TcpListener,
    supervisor: Supervisor,
    commits: JoinHandle<()>,
    shutdown: Shutdown,
}

impl App {
    /// Reads the settings and opens the port. Does not wait for the store.
    ///
    /// # Errors
    /// When a setting is missing or invalid, or listening on the port fails.
    pub async fn build(process: &Process) -> Result<Self, AppError> {
        let config = Config::from_settings(&process.settings)?;
        let address = store_address(&config)?;
        let listener = server::listen(process).await?;
        let mongo = MongoStore::new(config.store.clone());
        let letters = Letters { store: mongo.letters(), clock: Arc::clone(&process.clock) };
        let store: Arc<dyn LogStore> = Arc::new(mongo);
        let metrics = Metrics::register(&process.metrics);
        let spans = DatabaseSpans::new(address, config.store.database.clone());
        let (writer, commits) = Writer::start(
            Arc::clone(&store),
            spans.clone(),
            &metrics,
            config.group,
            config.store.insert_timeout,
        );
        let supervisor = Supervisor {
            store: Arc::clone(&store),
            retention: config.retention,
            clock: Arc::clone(&process.clock),
            watch: StoreWatch::new(STORE, &process.health, process.status.clone()),
            metrics: metrics.clone(),
        };
        let (of_letters, clock) = (letters.store.clone(), Arc::clone(&process.clock));
        tokio::spawn(letters::run(of_letters, config.letters_max_age, clock, metrics.clone()));
        let letters = DeadLetterServiceServer::new(letters).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let query_timeout = config.store.query_timeout;
        let api = Api { writer, store, query_timeout, clock: Arc::clone(&process.clock), spans, metrics };
        let server = Server::new(&process.metrics, process.shutdown.clone())
            .serving(LogServiceServer::new(api.clone()))
            .serving(OriginalServer::new(Original(api)))
            .serving(letters);
        Ok(Self { server, listener, supervisor, commits, shutdown: process.shutdown.clone() })
    }

    /// Serves until shutdown is requested, then until all accepted entries are written or the shutdown is cut.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn run(self) -> Result<(), AppError> {
        let Self { server, listener, supervisor, commits, shutdown } = self;
        tokio::spawn(supervisor.run(shutdown.clone()));
        server.serve(listener).await?;
        tokio::select! {
            _ = commits => {}
            () = shutdown.cut() => {}
        }
        Ok(())
    }
}

fn store_address(config: &Config) -> Result<StoreAddress, ConfigError> {
    // The driver's message is left out, because it may quote the connection string with the password.
    let invalid = || ConfigError::InvalidSecret {
        name: "MONGODB_URI".to_owned(),
        wanted: "a connection string such as mongodb://user:password@mongodb:27017/?authSource=admin",
    };
    mongo::address(config.store.uri.expose_secret()).ok().flatten().ok_or_else(invalid)
}
