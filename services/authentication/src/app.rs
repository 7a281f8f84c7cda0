//! The composition root.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_mesh::client::MeshError;
use weft_mesh::server::{self, ServeError};
use weft_mesh::{Mesh, MeshConfig, Server};
use weft_proto::weft::auth::v1::auth_service_server::AuthServiceServer;
use weft_proto::weft::deadletter::v1::dead_letter_service_server::DeadLetterServiceServer;
use weft_runtime::Process;
use weft_runtime::allowance::Allowance;
use weft_runtime::config::ConfigError;
use weft_runtime::lifecycle::Shutdown;
use weft_runtime::process::ProcessError;
use weft_runtime::status::StatusBoard;
use weft_runtime::store::StoreWatch;

use crate::accounts::{Accounts, Rules, Turns};
use crate::config::{Config, ConsoleUrl};
use crate::grpc::Api;
use crate::grpc::outbox::Outbox;
use crate::keys::KeyRing;
use crate::metrics::Metrics;
use crate::outbox::Recipient;
use crate::password::{HashError, Hasher};
use crate::random;
use crate::relay::{Peers, Relay, Wake};
use crate::reset_link::ResetLinks;
use crate::store::{PostgresStore, STORE};
use crate::supervise::Supervisor;

/// Period of the mail limit.
const HOUR: Duration = Duration::from_secs(3_600);

/// Why authentication stopped or did not start.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Mesh(#[from] MeshError),
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Authentication, ready to serve.
pub struct App {
    server: Server,
    listener: TcpListener,
    supervisor: Supervisor,
    relays: [Relay; 2],
    shutdown: Shutdown,
}

impl App {
    /// Reads the settings and opens the port. The store and the other services need not be available.
    ///
    /// # Errors
    /// When a setting is invalid, or the port can't be opened.
    pub async fn build(process: &Process) -> Result<Self, AppError> {
        let watch = StoreWatch::new(STORE, &process.health, process.status.clone());
        let config = Config::from_settings(&process.settings)?;
        let mesh = Mesh::new(MeshConfig::from_settings(&process.settings)?, &process.metrics);
        let listener = server::listen(process).await?;
        let accounts = accounts(process, &config)?;
        let links = reset_links(&accounts, &config);
        let peers = Arc::new(Peers::new(mesh.channel("logger")?, mesh.channel("mail")?, links));
        let relays = Recipient::ALL
            .map(|recipient| relay(recipient, &accounts, peers.clone(), process.status.clone()));
        let supervisor = Supervisor { accounts: accounts.clone(), first_user: config.first_user, watch };
        let server = Server::new(&process.metrics, process.shutdown.clone())
            .serving(AuthServiceServer::new(Api(accounts.clone())))
            .serving(DeadLetterServiceServer::new(Outbox(accounts)));
        Ok(Self { server, listener, supervisor, relays, shutdown: process.shutdown.clone() })
    }

    /// Serves until shutdown is requested. Then waits for the calls in flight and delivers the outbox once more.
    ///
    /// # Errors
    /// When the server fails.
    pub async fn run(self) -> Result<(), AppError> {
        let Self { server, listener, supervisor, relays, shutdown } = self;
        tokio::spawn(supervisor.run(shutdown.clone()));
        let stop = CancellationToken::new();
        let mut relaying: JoinSet<()> = relays.into_iter().map(|relay| relay.run(stop.clone())).collect();
        server.serve(listener).await?;
        stop.cancel();
        tokio::select! {
            () = async { while relaying.join_next().await.is_some() {} } => {}
            () = shutdown.cut() => {}
        }
        Ok(())
    }
}

fn accounts(process: &Process, config: &Config) -> Result<Accounts, AppError> {
    let store = PostgresStore::new(&config.store).ok_or_else(|| ConfigError::InvalidSecret {
        name: "DATABASE_URL".to_owned(),
        wanted: "a URL such as postgres://user:password@postgres:5432/weft",
    })?;
    let store = Arc::new(store);
    let (random, clock) = (random::system(), Arc::clone(&process.clock));
    let metrics = Metrics::register(&process.metrics);
    Ok(Accounts {
        store,
        hasher: Hasher::new(config.hash, random.clone(), metrics.clone())?,
        keys: KeyRing::new(
            config.rotation,
            config.sealer.clone(),
            clock.clone(),
            random.clone(),
            metrics.clone(),
        ),
        clock,
        random,
        metrics,
        wake: Wake::default(),
        rules: Rules {
            issuer: config.issuer.clone(),
            token_life: config.token_life,
            lifetimes: config.lifetimes,
            sign_in_rate: config.sign_in_rate,
            console: config.console.clone().map(|ConsoleUrl(url)| url),
        },
        turns: Turns::default(),
        mails: config.mails_per_recipient.map(|most| Arc::new(Allowance::new(most.get(), HOUR))),
    })
}

fn reset_links(accounts: &Accounts, config: &Config) -> ResetLinks {
    let Accounts { store, clock, rules, .. } = accounts.clone();
    ResetLinks { store, sealer: config.sealer.clone(), clock, console: rules.console }
}

fn relay(recipient: Recipient, accounts: &Accounts, peers: Arc<Peers>, status: StatusBoard) -> Relay {
    let Accounts { store, clock, metrics, wake, .. } = accounts.clone();
    Relay { store, recipient, peers, clock, metrics, wake, status }
}
