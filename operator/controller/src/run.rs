//! The operator's composition root.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use http_body_util::Full;
use rand::distr::{Alphanumeric, SampleString as _};
use weft_runtime::Process;
use weft_runtime::config::{ConfigError, Settings};
use weft_runtime::health::Condition;
use weft_runtime::lifecycle::Shutdown;

use crate::cache::WatchEnded;
use crate::context::{AskStores, Context, Retries};
use crate::controller::{Feeds, Scope, control_as, feeds};
use crate::installation::{Installation, InstallationError};
use crate::leader::{Candidate, Leadership, Surroundings, Timing};
use crate::ledger::Ledger;
use crate::metrics::OperatorMetrics;
use crate::names::MANAGER;
use crate::{client, plain_http};

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Installation(#[from] InstallationError),
    #[error("failed to find out how to reach the API server")]
    Client(#[source] Box<kube::Error>),
    #[error(transparent)]
    Watch(#[from] WatchEnded),
}

/// Runs the operator until it is told to end.
///
/// # Errors
/// When it can't start: a setting is wrong, or there is no way to reach an API server.
pub async fn run(process: Process) -> Result<(), RunError> {
    let path = process
        .settings
        .required_text("WEFT_OPERATOR_CONFIG", "the path of the file that the chart writes")?;
    let installation = Arc::new(Installation::read(&PathBuf::from(path))?);
    let client = client::connect().await.map_err(|error| RunError::Client(Box::new(error)))?;
    let metrics = OperatorMetrics::register(&process.metrics);
    let surroundings = Surroundings {
        clock: Arc::clone(&process.clock),
        metrics: metrics.clone(),
        condition: process.health.condition("lease"),
    };
    let mut candidate =
        Candidate::new(&client, MANAGER, identity(&process.settings), Timing::default(), surroundings);
    let leadership = candidate.leadership();
    let scopes = scopes(&installation);
    let synced =
        Synced { condition: process.health.condition("cache"), left: AtomicUsize::new(scopes.len()) };
    let controllers = scopes.iter().map(|scope| {
        let (cache, feeds) = feeds(&client, scope, &metrics);
        let context = Context {
            client: client.clone(),
            cache,
            installation: Arc::clone(&installation),
            ledger: Ledger::default(),
            retries: Retries::default(),
            metrics: metrics.clone(),
            clock: Arc::clone(&process.clock),
            password: Arc::new(|| Alphanumeric.sample_string(&mut rand::rng(), 32)),
            ask_stores: ask_stores(),
        };
        look_after(scope, context, feeds, &synced, (leadership.clone(), &process.shutdown))
    });
    // It renews until the last pass has ended, and only then gives the Lease back.
    let done = tokio::select! {
        done = futures::future::try_join_all(controllers) => done,
        () = candidate.campaign() => return Ok(()),
    };
    candidate.resign().await;
    done.map(|_| ())
}

/// The pod's name, and something that no other process has, such as an earlier one in the same pod.
fn identity(settings: &Settings) -> String {
    let host = settings.text("HOSTNAME").unwrap_or_else(|| MANAGER.to_owned());
    format!("{host}_{}", Alphanumeric.sample_string(&mut rand::rng(), 10))
}

/// Which scopes have listed what there is. One that may not list holds up no other.
struct Synced {
    condition: Condition,
    left: AtomicUsize,
}

impl Synced {
    fn one_more(&self) {
        match self.left.fetch_sub(1, Ordering::AcqRel) {
            1 => self.condition.fulfilled(),
            left => self.condition.missing(format!("{} namespaces are not listed yet", left - 1)),
        }
    }
}

async fn look_after(
    scope: &Scope,
    context: Context,
    feeds: Feeds,
    synced: &Synced,
    (leadership, shutdown): (Leadership, &Shutdown),
) -> Result<(), RunError> {
    tracing::info!(release = context.installation.release, "looking after {scope}");
    tokio::select! {
        ready = context.cache.ready() => ready?,
        () = shutdown.requested() => return Ok(()),
    }
    synced.one_more();
    control_as(Arc::new(context), feeds, leadership, shutdown.clone()).await;
    Ok(())
}

fn scopes(installation: &Installation) -> Vec<Scope> {
    let chosen = &installation.watch.namespaces;
    if chosen.is_empty() { vec![Scope::All] } else { chosen.iter().cloned().map(Scope::Namespace).collect() }
}

const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// Asks by HTTP, at the pod's own address: a pod that is not ready has no other.
fn ask_stores() -> AskStores {
    Arc::new(|address| {
        async move {
            let told = tokio::time::timeout(ASK_TIMEOUT, get_status(&address)).await.ok()?;
            told.inspect_err(|error| tracing::debug!(address, error = error.to_string(), "no status")).ok()
        }
        .boxed()
    })
}

async fn get_status<T: serde::de::DeserializeOwned>(address: &str) -> Result<T, plain_http::Failure> {
    let request = http::Request::get("/status").header(http::header::HOST, address).body(Full::default())?;
    let answer = plain_http::exchange(address, request).await?;
    Ok(serde_json::from_slice(answer.body())?)
}
