//! The release that the cluster's figures are measured on: made by the first that needs it, removed at the end.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::time::Instant;
use weft_devcluster::{Sandbox, Settings, until};

const RELEASE: &str = "weft-bench";
/// Where the Stack is.
pub(crate) const NAMESPACE: &str = "weft-bench-stack";
/// The built-in services.
pub(crate) const SERVICES: [&str; 6] = ["broker", "authentication", "logger", "mail", "listener", "frontend"];
const READY_WITHIN: Duration = Duration::from_secs(240);

/// A release, once there is one.
#[derive(Debug, Default)]
pub(crate) struct Cluster(Option<Release>);

/// A Helm release with one namespace for one Stack.
#[derive(Debug)]
pub(crate) struct Release {
    sandbox: Sandbox,
    applied: Option<f64>,
}

impl Cluster {
    /// The release, installed at the first call.
    pub(crate) async fn release(&mut self) -> Result<&mut Release> {
        if self.0.is_none() {
            let settings = Settings::from_env().context("there is no cluster to measure on")?;
            let sandbox = Sandbox::install(settings, RELEASE, &[NAMESPACE]).await?;
            self.0 = Some(Release { sandbox, applied: None });
        }
        self.0.as_mut().context("no release")
    }

    pub(crate) async fn remove(self) -> Result<()> {
        match self.0 {
            Some(release) => release.sandbox.remove().await,
            None => Ok(()),
        }
    }
}

impl Release {
    pub(crate) fn name(&self) -> &str {
        self.sandbox.release()
    }

    /// Seconds from `kubectl apply` of a Stack to Ready, both kubectl's own time included.
    pub(crate) async fn apply_to_ready(&mut self) -> Result<f64> {
        let stack = json!({
            "apiVersion": "weft.dev/v1alpha1", "kind": "Stack", "metadata": {"name": "bench", "namespace": NAMESPACE},
            "spec": {"version": self.sandbox.settings.version()?, "tracing": {"managed": {}}},
        });
        let started = Instant::now();
        self.sandbox.kubectl.apply(&stack.to_string()).await?;
        let within = format!("--timeout={}s", READY_WITHIN.as_secs());
        let wait = ["--namespace", NAMESPACE, "wait", "--for=condition=Ready", "stack/bench", &within];
        self.sandbox.kubectl.run(&wait).await?;
        let took = started.elapsed().as_secs_f64();
        self.applied = Some(took);
        Ok(took)
    }

    /// Waits until the Stack is there and Ready.
    pub(crate) async fn ready(&mut self) -> Result<()> {
        if self.applied.is_none() {
            self.apply_to_ready().await?;
        }
        until("one pod of each service", READY_WITHIN, async || {
            for app in SERVICES {
                let pods = self.pods(NAMESPACE, app).await?;
                anyhow::ensure!(pods.len() == 1, "{} pods of {app}", pods.len());
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn pods(&self, namespace: &str, app: &str) -> Result<Vec<Value>> {
        let label = format!("app.kubernetes.io/name={app}");
        self.sandbox.kubectl.list(namespace, &["pods", "-l", &label]).await
    }
}
